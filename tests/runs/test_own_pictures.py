"""A folder as people have it, through every command: mixed sizes, one damaged, one transparent,
one of 16 bits, with classes and without."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from scorerep import checkpoint, export
from scorerep.runs.cli import main
from scorerep.runs.fit import load_experiment

READ = ["--size", "8", "12", "--damaged", "skip"]
SMOKE = ["--budget", "smoke", *READ]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Five hundred pictures in two classes, dark and light."""
    folder, rng = tmp_path_factory.mktemp("pictures") / "photos", np.random.default_rng(0)
    for name, mean in (("dark", 60), ("light", 180)):
        (folder / name).mkdir(parents=True)
        for i in range(250):
            height, width = rng.integers(12, 30, 2)
            values = mean + rng.integers(-40, 40, (height, width, 3))
            Image.fromarray(values.astype(np.uint8)).save(folder / name / f"{i:03d}.jpg")
    Image.open(folder / "dark/003.jpg").convert("RGBA").save(folder / "dark/alpha.png")
    deep = rng.integers(0, 65536, (16, 20)).astype(np.uint16)
    Image.fromarray(deep).save(folder / "light/deep.png")
    damaged = folder / "dark" / "000.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    return folder


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "own"
    main(["train", "own", "--data", str(photos), *SMOKE, "--folder", str(folder)])
    return folder


def refused(arguments: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_what_is_wrong_is_said_before_any_training(photos, tmp_path, capsys):
    train = ["train", "own", "--data", str(photos), "--budget", "smoke", "--folder", str(tmp_path)]
    assert re.search("sizes .* give one, such as --size 32 32", refused(train, capsys))
    said = refused([*train, "--size", "9", "12", "--damaged", "skip"], capsys)
    assert re.search(r"9×12 .* multiples of 2: give such a size, as --size 8 12", said)
    assert re.search("1 picture .*000.jpg.*--damaged skip", refused([*train, *READ[:3]], capsys))
    assert not list(tmp_path.iterdir())


def test_training_gives_scores_and_a_picture_and_the_card_says_of_what(run, photos, capsys):
    assert (run / "overview.png").stat().st_size > 10_000
    experiment = load_experiment(run)
    assert experiment.data == str(photos) and experiment.size == (8, 12)
    assert experiment.model.image_shape == (3, 8, 12) and experiment.colour == "rgb"
    main(["evaluate", str(run)])
    table = capsys.readouterr().out
    assert re.search(r"silhouette +knn +probe", table) and "note" not in table
    accuracy = {row.split()[0]: float(row.split()[2]) for row in table.splitlines()[1:]}
    assert accuracy["PCA"] > 0.8  # dark and light: the pictures did arrive with their labels


def test_run_goes_on_with_the_same_pictures_elsewhere_and_with_no_others(
    run, photos, tmp_path, capsys
):
    main(["data", str(photos), *READ, "--out", str(tmp_path / "photos.npz")])
    said = capsys.readouterr().out
    assert re.search(r"train: 401 images of 3×8×12, your own, checksum", said)
    assert re.search("2 classes: 200 dark, 201 light", said)
    again = ["train", "own", "--budget", "smoke", "--folder", str(run), "--no-report", "--data"]
    before = checkpoint.read_card(run)
    main([*again, str(tmp_path / "photos.npz")])
    assert checkpoint.read_card(run) | {"experiment": {}} == before | {"experiment": {}}
    with np.load(tmp_path / "photos.npz") as file:
        arrays = dict(file)
    arrays["train_images"][0, 0, 0, 0] ^= 1
    np.savez(tmp_path / "changed.npz", **arrays)
    said = refused([*again, str(tmp_path / "changed.npz")], capsys)
    assert re.search("was trained on other data than these: images were added, removed", said)


def test_every_command_works_on_them(run, photos, tmp_path, capsys):
    main(["encode", str(run), "--out", str(tmp_path / "codes.csv"), "--split", "all"])
    rows = list(csv.DictReader((tmp_path / "codes.csv").open()))
    assert len(rows) == 501 and {row["label"] for row in rows} == {"dark", "light"}
    assert rows[0]["file"] == "dark/001.jpg" and list(rows[0]) == ["z1", "z2", "file", "label"]
    main(["sample", str(run), "--out", str(tmp_path / "grid.png"), "--side", "2", "--steps", "3"])
    assert (tmp_path / "grid.png").stat().st_size > 3_000
    main(["floor", str(photos), *READ, "--out", str(tmp_path / "floor.png"), "--draws", "5",
          "--levels", "4"])  # fmt: skip
    assert "photos: 401 images, target eps" in capsys.readouterr().out
    main(["export", str(run), str(tmp_path / "small")])
    assert load_experiment(tmp_path / "small") == load_experiment(run)
    export.export(run, tmp_path / "page")
    page = json.loads((tmp_path / "page" / "data.json").read_text("utf-8"))
    assert page["image_shape"] == [3, 8, 12] and page["classes"] == ["dark", "light"]
    assert len(page["codes"]) == 100 and len(page["examples"]) == 10  # five of each class


def test_pictures_without_labels_are_scored_by_what_needs_none(photos, tmp_path, capsys):
    plain = tmp_path / "few"
    plain.mkdir()
    for file in sorted((photos / "light").iterdir())[-16:]:
        shutil.copy(file, plain)
    train = ["train", "own", "--data", str(plain), *SMOKE, "--folder", str(tmp_path / "run")]
    few = "has 13 training images, fewer than a batch: give (--optimisation.batch-size 13)"
    batch = re.search(few, refused(train, capsys))[1].split()
    main([*train, *batch])
    said = capsys.readouterr().out
    assert "no labels (all are of one class): silhouette, knn and probe are left out" in said
    assert "r2_brightness" in said and "silhouette " not in said.replace("silhouette,", "")
    main(["encode", str(tmp_path / "run"), "--out", str(tmp_path / "codes.csv"), "--data",
          str(photos / "dark")])  # fmt: skip
    assert list(csv.DictReader((tmp_path / "codes.csv").open()))[0].keys() == {"z1", "z2", "file"}
    main(["sweep", "own", "--data", str(plain), *SMOKE, "--folder", str(tmp_path / "sweep"),
          "--levels", "0.5", "--seeds", "0", *batch])  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "sweep" / "table.csv").open()))
    assert [row["code"] for row in rows] == ["PCA", "trained", "untrained"]
    assert "knn" not in rows[0] and float(rows[0]["r2_brightness"]) <= 1


def test_one_class_of_a_known_data_set_is_scored_like_that_too(tmp_path, capsys):
    main(["train", "digits", "--classes", "1", "--budget", "smoke", "--folder", str(tmp_path)])
    said = capsys.readouterr().out
    assert "no labels" in said and re.search(r"PCA +[\d.]+", said) and "r2_stroke_width" in said
