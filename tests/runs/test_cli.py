"""The command line: what a newcomer types, and what it says when something is wrong."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scorerep import checkpoint
from scorerep.runs.cli import main
from scorerep.runs.paper import BUDGETS, PAPER

TINY = [
    "--optimisation.iterations", "4", "--optimisation.frozen-iterations", "2",
    "--optimisation.batch-size", "16", "--model.channels", "8", "--model.blocks", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "digits"
    main(["train", "digits", "--folder", str(folder), *TINY, "--no-report"])
    return folder


def test_training_ends_with_scores_and_a_picture(tmp_path, capsys):
    main(["train", "digits", "--folder", str(tmp_path), *TINY])
    output = capsys.readouterr().out
    assert re.search(r"silhouette +knn +probe", output)
    for row in ("trained", "untrained encoder", "PCA"):
        assert re.search(rf"^{row} +-?\d\.\d", output, re.MULTILINE), row
    assert "effective regulariser weight per image 0.00032" in output
    picture = tmp_path / "overview.png"
    assert str(picture) in output and picture.stat().st_size > 10_000


def test_same_command_continues_a_finished_run_without_training(folder, capsys):
    before = checkpoint.read_card(folder)
    main(["train", "digits", "--folder", str(folder), *TINY, "--no-report"])
    assert checkpoint.read_card(folder) == before


def test_two_processes_of_torchrun_train_what_one_does(tmp_path):
    launchers = {
        "one": [],
        "two": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"],
    }
    weights = {}
    for name, launcher in launchers.items():
        folder = tmp_path / name
        command = [*launcher, "-m", "scorerep", "train", "digits", "--budget", "smoke"]
        command += ["--folder", folder, "--no-report"]
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=240, check=True
        )
        # Only the first of several processes speaks.
        assert done.stdout.count("smoke budget") == 1
        weights[name], _ = checkpoint.read_tensors(folder / "model.safetensors")
    for name, tensor in weights["one"].items():
        assert (tensor - weights["two"][name]).abs().max() <= 1e-5, name


def test_overrides_reach_the_card(folder):
    experiment = checkpoint.read_card(folder)["experiment"]
    assert experiment["optimisation"]["iterations"] == 4
    assert experiment["model"]["channels"] == [8]
    assert checkpoint.read_card(folder)["iterations_done"] == 6


def test_encode_writes_one_row_an_image(folder, tmp_path):
    main(["encode", str(folder), "--out", str(tmp_path / "codes.csv")])
    rows = list(csv.DictReader((tmp_path / "codes.csv").open()))
    assert list(rows[0]) == ["z1", "z2", "label"] and len(rows) > 300
    assert {row["label"] for row in rows} == set("0123456789")


@pytest.mark.parametrize("sampler", ["heun", "euler_maruyama"])
def test_sample_writes_a_picture(folder, tmp_path, sampler):
    out = tmp_path / "grid.png"
    main(["sample", str(folder), "--out", str(out), "--side", "2", "--sampler", sampler,
          "--steps", "3"])  # fmt: skip
    assert out.stat().st_size > 5_000


def test_evaluate_prints_the_table(folder, capsys):
    main(["evaluate", str(folder)])
    assert "untrained encoder" in capsys.readouterr().out


def test_export_halves_the_weights_and_keeps_the_card(folder, tmp_path):
    main(["export", str(folder), str(tmp_path / "small")])
    whole = (folder / "model.safetensors").stat().st_size
    half = (tmp_path / "small" / "model.safetensors").stat().st_size
    assert half < 0.6 * whole
    cards = [checkpoint.read_card(path) for path in (tmp_path / "small", folder)]
    assert cards[0].pop("weights_sha256") != cards[1].pop("weights_sha256")
    assert cards[0] == cards[1]


def test_data_says_what_is_there(capsys):
    main(["data", "digits"])
    assert re.search(r"digits test: \d+ images of 1×8×8, checksum [0-9a-f]{16}",
                     capsys.readouterr().out)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["evaluate", "nowhere"], "no checkpoint at nowhere"),
        (["train", "digits", "--optimisation.batch-size", "100000"], "batch_size must be at most"),
        (["train", "digits", "--classes", "11"], "11"),
        (["train", "digits", "--model.image-shape", "1", "28", "28"], "expects image_shape"),
        (["train", "digits", "--single-t", "2"], r"single_t must lie in \(0, 1\]"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments, sentence, capsys, tmp_path):
    if arguments[0] == "train":
        arguments = [*arguments, "--folder", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert re.search(sentence, message), message
    assert "Traceback" not in message


@pytest.mark.parametrize("arguments", [["--help"], ["train", "digits", "--help"]])
def test_help_names_commands_and_options(arguments):
    result = subprocess.run(
        [sys.executable, "-m", "scorerep", *arguments],
        capture_output=True, text=True, cwd=Path(__file__).parents[2],
        env=os.environ | {"COLUMNS": "100"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    wanted = ("evaluate", "export") if len(arguments) == 1 else ("--single-t", "distribution of t")
    assert all(word.lower() in result.stdout.lower() for word in wanted)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", PAPER)
def test_every_run_of_the_book_can_be_asked_for_help(name, budget, capsys):
    commands = ["train"] + ["sweep"] * (PAPER[name].times == "single_t" and name != "digits")
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            main([command, name, "--budget", budget, "--help"])
        assert ended.value.code == 0
        assert "--seed" in capsys.readouterr().out
