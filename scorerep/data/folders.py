"""A folder of pictures: which files are which split and class, and their pixels.

A folder has pictures, or one folder of pictures for each class (deeper folders belong to it).
Where it has ``train`` and ``test`` (or ``val``), these are the splits. Otherwise every fifth
picture of a class, in the order of the files' names, is a test picture: the same ones for both
splits, and no matter whether some are damaged. Neighbours that are nearly copies, such as frames
of a film, belong into ``train`` and ``test`` by hand. Files whose name begins with a dot, and
those that do not end like a picture, are left alone. The split "all" is every picture.
"""

import logging
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm.auto import tqdm

from scorerep.data.arrays import EVERY, UNLABELLED, image_data, is_test
from scorerep.data.images import DataError, ImageData
from scorerep.data.pictures import SUFFIXES, BadPicture, header, picture

LOG = logging.getLogger(__name__)
LEAST = 2 * EVERY  # pictures of a class: two of them are then test pictures
TESTS = ("test", "val", "valid", "validation")  # folders beside ``train``; the first there is
SHOWN = 10  # names of files in a message
Split = Literal["train", "test", "all"]


def read_folder(
    folder: Path, split: Split, size: tuple[int, int] | None, colour: str, damaged: str
) -> ImageData:
    """The pictures of a ``split``, with the names of their files as seen from ``folder``.

    One picture at a time is in memory beside the result.

    Args:
        folder, split, size, colour, damaged: as in ``own.load_own``, with its errors.
    """
    files, classes = listed(folder, split)
    size, channels, bad = _shape(folder, size, colour)
    pixels = np.empty((len(files), channels, *size), np.uint8)
    labels, names = [], []
    for file, label in tqdm(files, desc=f"reading {folder.name}, {split}", delay=2):
        try:
            if file not in bad:
                pixels[len(labels)] = picture(file, size, channels)
                labels.append(label)
                names.append(file.relative_to(folder).as_posix())
        except BadPicture as error:
            bad[file] = str(error)
    if damaged == "skip":  # those of the other split are named when it is read
        bad = {file: bad[file] for file, _ in files if file in bad}
    if bad:
        _tell(bad, folder, damaged)
    name, labels = folder.absolute().name, np.asarray(labels, np.int64)
    return image_data(pixels[: len(labels)], labels, classes, name, split, names)


def listed(folder: Path, split: Split) -> tuple[list[tuple[Path, int]], tuple[str, ...]]:
    """The files of a ``split`` of ``folder``, each with its label, and the classes' names.

    ``ValueError`` if there are no pictures, fewer than ten of a class without folders of their own
    for the splits, other classes in one of these than in the other, or pictures beside classes.
    """
    if (folder / "train").is_dir() and (tests := [t for t in TESTS if (folder / t).is_dir()]):
        places = {"train": folder / "train", "test": folder / tests[0]}
        groups = {part: _by_class(place) for part, place in places.items()}
        if list(groups["train"]) != list(groups["test"]):
            raise ValueError(
                f"{places['train']} and {places['test']} must have the same classes, got "
                f"{', '.join(groups['train'])} and {', '.join(groups['test'])}"
            )
        chosen = groups["train"]
        if split == "all":
            chosen = {name: [*files, *groups["test"][name]] for name, files in chosen.items()}
        elif split == "test":
            chosen = groups["test"]
    else:
        chosen = {}
        for name, files in _by_class(folder).items():
            if split == "all":
                chosen[name] = files
                continue
            if len(files) < LEAST:
                raise ValueError(
                    f"{folder} has {len(files)} pictures of the class {name}, and {LEAST} are "
                    f"needed: one in {EVERY} is kept for tests"
                )
            test = is_test([0] * len(files))
            chosen[name] = [f for f, kept in zip(files, test) if kept == (split == "test")]
    pairs = [(file, label) for label, files in enumerate(chosen.values()) for file in files]
    return pairs, tuple(chosen)


def _by_class(folder: Path) -> dict[str, list[Path]]:
    """Class → its files, both in the order of names."""
    found, alone, others = {}, [], Counter()
    for file in _files(folder):
        if file.suffix.lower() not in SUFFIXES:
            others[file.suffix or file.name] += 1
        elif file.parent == folder:
            alone.append(file)
        else:
            found.setdefault(file.relative_to(folder).parts[0], []).append(file)
    if others:
        kinds = ", ".join(sorted(others)[:SHOWN])
        LOG.warning("%s: %d files (%s) are left alone", folder, sum(others.values()), kinds)
    if found and alone:
        raise ValueError(
            f"{folder} has pictures ({alone[0].name}) beside folders of pictures: put all into "
            "folders, one a class, or none"
        )
    if not found and not alone:
        raise ValueError(f"{folder} has no pictures; they are files in {', '.join(SUFFIXES)}")
    return dict(sorted(found.items())) or {UNLABELLED: alone}


def _files(folder: Path) -> list[Path]:
    """All files that are not hidden, in the order of their names on every system."""
    names = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*")}
    shown = (name for name in sorted(names) if not any(p[0] == "." for p in name.split("/")))
    return [names[name] for name in shown if names[name].is_file()]


def _shape(
    folder: Path, size: tuple[int, int] | None, colour: str
) -> tuple[tuple[int, int], int, dict[Path, str]]:
    """Size and channels for the pictures of both splits, and files that are none, with reasons."""
    sizes, grey, bad = Counter(), [], {}
    files = [file for file in _files(folder) if file.suffix.lower() in SUFFIXES]
    for file in tqdm(files, desc=f"looking through {folder.name}", delay=2):
        try:
            found = header(file)
        except BadPicture as error:
            bad[file] = str(error)
            continue
        sizes[found.height, found.width] += 1
        grey.append(found.grey)
    if not sizes:
        _tell(bad, folder, "refuse")
    if size is None and len(sizes) > 1:
        shown = ", ".join(f"{h}×{w}" for (h, w), _ in sizes.most_common(3))
        raise ValueError(
            f"{folder} has pictures of {len(sizes)} sizes ({shown} and so on, height × width): "
            "give one, such as --size 32 32"
        )
    one = colour == "grey" or (colour == "auto" and all(grey))
    return tuple(size or next(iter(sizes))), 1 if one else 3, bad


def _tell(bad: dict[Path, str], folder: Path, damaged: str):
    """Refuse or name files that could not be read."""
    reasons = [bad[file] for file in sorted(bad)]
    shown = "; ".join(reasons[:SHOWN]) + (" and so on" if len(bad) > SHOWN else "")
    count = "1 picture that is" if len(bad) == 1 else f"{len(bad)} pictures that are"
    if damaged == "refuse":
        raise DataError(
            f"{folder} has {count} damaged or not to be read ({shown}): mend or remove, or go on "
            "without by --damaged skip"
        )
    LOG.warning("%s has %s damaged or not to be read, and skipped: %s", folder, count, shown)
