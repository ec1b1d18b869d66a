"""The command ``scorerep data``: fetch and check a data set, or look at your own pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from scorerep.data import data_root, load_data
from scorerep.data.arrays import save_npz
from scorerep.data.images import ImageData
from scorerep.data.own import Reading
from scorerep.data.sources import is_own
from scorerep.runs.commands.output import check_out
from scorerep.sde import VESDE


@dataclass(frozen=True)
class Data(Reading):
    """Fetch and check a data set, so that later commands need no network; or look at your pictures.

    Of your own pictures it says what would be trained on: how many, their size, their classes.
    """

    name: Annotated[str, tyro.conf.Positional]
    """digits, mnist, cifar10, cifar10-part, or the path of a folder of pictures or an .npz file."""
    out: Path | None = None
    """Also write them to this .npz file, both splits, which is read faster and can be moved."""

    def run(self):
        if self.out is not None:
            check_out(self.out, ("npz",))
        source = {
            "digits": "scikit-learn's",
            "cifar10-part": "the part of CIFAR-10 that comes with the book",
        }.get(self.name, f"full, in {data_root().absolute()}")
        if is_own(self.name):
            source = "your own"
        parts = [load_data(self.name, split, **self.reading()) for split in ("train", "test")]
        for data in parts:
            shape = "×".join(map(str, data.image_shape))
            print(
                f"{self.name} {data.split}: {len(data):,d} images of {shape}, {source}, "
                f"checksum {data.checksum()}"
            )
            if is_own(self.name):
                print(f"  {counts(data)}")
        if is_own(self.name):
            from scorerep.runs.report import first_level

            t = first_level(parts[0], VESDE(), latent=2)
            print(f"a first noise level for two numbers: t = {t:.2f}, as in --single-t {t:.2f}")
        if self.out is not None:
            save_npz(self.out, *parts)
            print(f"pictures: {self.out}")


def shown(table: Any, data: ImageData) -> str:
    """A table of scores for the terminal; says so if ``data`` have no labels to score by."""
    text = table.round(3).to_string()
    if data.labelled:
        return text
    return f"{text}\nno labels (all are of one class): silhouette, knn and probe are left out"


def counts(data: ImageData, most: int = 20) -> str:
    """How many images of each class; the first ``most`` classes."""
    if not data.labelled:
        return "no labels: scores that need them will be left out"
    numbers = data.labels.bincount(minlength=len(data.classes)).tolist()
    named = [f"{n} {name}" for name, n in zip(data.classes, numbers)]
    left = f" and {len(named) - most} more" if len(named) > most else ""
    return f"{len(named)} classes: {', '.join(named[:most])}{left}"
