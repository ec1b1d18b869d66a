"""The command line: what a newcomer types, and what it says when something is wrong."""

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch

from scorerep import checkpoint
from scorerep.codes import effects
from scorerep.model import ScoreModel
from scorerep.runs import fit
from scorerep.runs.cli import main
from scorerep.runs.commands import models
from scorerep.runs.paper import BUDGETS, PAPER

ROOT = Path(__file__).parents[2]
TINY = [
    "--optimisation.iterations", "4", "--optimisation.frozen-iterations", "2",
    "--optimisation.batch-size", "16", "--model.channels", "8", "--model.blocks", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "digits"
    main(["train", "digits", "--folder", str(folder), *TINY, "--no-report"])
    return folder


@pytest.mark.parametrize(("policy", "said"), [(None, "PASSIVE"), ("active", "active")])
def test_threads_wait_passively_unless_told_otherwise(policy, said):
    code = (
        "import os, sys; from scorerep.runs import cli;"
        "cli._run = lambda _: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules);"
        "cli.main([])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
        env=environment | ({"OMP_WAIT_POLICY": policy} if policy else {}),
    )  # fmt: skip
    assert done.stdout == f"{said} False\n"  # set before torch is imported, which reads it


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
    assert re.search(r"digits test: \d+ images of 1×8×8, scikit-learn.s, checksum [0-9a-f]{16}",
                     capsys.readouterr().out)  # fmt: skip


SMOKE = ["--budget", "smoke"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["evaluate", "nowhere"], "no checkpoint at nowhere"),
        (["evaluate", "SHIPPED/mnist-classifier"], "card.json holds no Experiment"),
        (["evaluate", "SHIPPED/time-codes"], "card.json holds no Experiment"),
        (["evaluate", "SHIPPED/fig10"], "has no code: its latent is 0"),
        (["encode", "SHIPPED/guidance-classifier"], "card.json holds no Experiment"),
        (["export", "SHIPPED/mnist-classifier", "OUT"], "card.json holds no ModelConfig"),
        (["export", "SHIPPED/guidance-classifier", "OUT"], "card.json holds no ModelConfig"),
        (["train", "digits", "--optimisation.batch-size", "100000"], "batch_size must be at most"),
        (["train", "digits", "--classes", "11"], "unknown class '11'"),
        (["train", "own"], "say where your pictures are, --data FOLDER"),
        (["train", "own", "--data", "nowhere"], "unknown data set 'nowhere'"),
        (["train", "digits", "--size", "8", "8"], "size, colour and damaged are of your own"),
        (["data", "mnist", "--size", "8", "8"], "size, colour and damaged are of your own"),
        (["train", "digits", "--model.image-shape", "1", "28", "28"], "expects image_shape"),
        (["train", "digits", "--single-t", "2"], r"single_t must lie in \(0, 1\]"),
        (["train", "digits", "--name", "../x"], "name must be that of a folder"),
        (["train", "digits", *SMOKE, "--model.channels", "10000000"], "not enough memory"),
        (["train", "digits", "--budget", "huge"], "invalid choice 'huge'"),
        (["sweep", "digits", *SMOKE, "--workers", "0"], "workers must be at least 1, got 0"),
        (["sweep", "digits", *SMOKE, "--levels"], "levels must name at least one"),
        (["sweep", "digits", *SMOKE, "--model.latent", "0"], "latent must be at least 1"),
        (["data", "mnist", "--budget", "book"], "Unrecognized"),
        (["data", "digits", "--out", "digits.png"], r"out must end in \.npz"),
        (["encode", "FOLDER", "--out", "OUT/no/codes.csv"], "out is to be written to .*no, which"),
        (["encode", "FOLDER", "--out", "FOLDER"], "out must be a file, and .* is a folder"),
        (["sample", "FOLDER", "--out", "OUT.noext/grid"], r"out must end in \.png.* got .*grid"),
        (["sample", "FOLDER", "--out", "/dev/full"], r"out must end in \.png"),
        (["sample", "FOLDER", "--low", "nan"], "low and high must be finite"),
        (["sample", "FOLDER", "--high", "inf"], "low and high must be finite"),
        (["sample", "FOLDER", "--side", "0"], r"side must lie in 1\.\.100, got 0"),
        (["sample", "FOLDER", "--side", "100000"], "side must lie in"),
        (["sample", "FOLDER", "--seed", "-1"], "seed must lie in"),
        (["export", "FOLDER", "FOLDER"], "out must be another folder"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments, sentence, folder, capsys, tmp_path):
    places = {"SHIPPED": str(ROOT / "book/checkpoints"), "FOLDER": str(folder),
              "OUT": str(tmp_path / "out")}  # fmt: skip
    if arguments[0] in ("train", "sweep"):
        arguments = [*arguments, "--folder", str(tmp_path / "run")]
    arguments = [re.sub("SHIPPED|FOLDER|OUT", lambda m: places[m[0]], a) for a in arguments]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    # What tyro says of arguments is framed; all else stands in the last line alone.
    framed = "full helptext" in message or "invalid choice" in message
    said = " ".join(message.split()) if framed else message.splitlines()[-1]
    assert re.search(sentence, said), message
    assert "Traceback" not in message
    assert not list(tmp_path.glob("**/*.part*"))


def test_sweep_shared_by_two_workers_has_the_rows_of_all_runs(tmp_path, capsys):
    main(["sweep", "digits", *SMOKE, "--folder", str(tmp_path), "--levels", "0.5", "0.7",
          "--seeds", "0", "--workers", "2"])  # fmt: skip
    table = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert [(row["code"], row["t"]) for row in table] == [
        ("PCA", ""), ("trained", "0.5"), ("trained", "0.7"), ("untrained", "")
    ]  # fmt: skip
    assert f"table: {tmp_path / 'table.csv'}" in capsys.readouterr().out


class Signaller:
    """In the place of TensorBoard's writer: a signal arrives within the third step."""

    def __init__(self, number):
        self.number = number

    def add_scalar(self, key, value, step):
        if (key, step) == ("matching", 3):
            signal.raise_signal(self.number)

    def close(self):
        pass


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_run_says_so_in_a_line_of_its_own(tmp_path, capsys, monkeypatch, number, status):
    monkeypatch.setattr(fit, "summary_writer", lambda _: Signaller(number))
    command = ["train", "digits", "--folder", str(tmp_path), *TINY, "--no-report"]
    with pytest.raises(SystemExit) as stop:
        main([*command, "--tensorboard"])
    assert stop.value.code == status
    lines = capsys.readouterr().err.splitlines()  # the bar's is ended before
    assert lines[-1] == "stopped at step 3; the same command goes on"
    assert checkpoint.read_card(tmp_path)["iterations_done"] == 3
    main(command)
    assert checkpoint.read_card(tmp_path)["iterations_done"] == 6


def test_error_within_training_stands_in_a_line_of_its_own(tmp_path, capsys, monkeypatch):
    command = ["train", "digits", "--folder", str(tmp_path), *TINY, "--no-report"]
    with pytest.raises(SystemExit) as stop:
        main([*command, "--optimisation.learning-rate", "1e30", "--optimisation.warmup", "1"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("TrainingDiverged: the loss or its ")


def test_optimiser_that_this_torch_has_not_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(SystemExit) as stop:
        main(["train", "digits", "--folder", str(tmp_path), *TINY, "--optimisation.optimizer",
              "muon"])  # fmt: skip
    assert stop.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.match("ImportError: optimizer 'muon' needs torch 2.9", last)


def test_codes_of_one_number_are_scored_and_not_drawn(tmp_path, capsys):
    main(["train", "digits", "--folder", str(tmp_path), *TINY, "--model.latent", "1"])
    output = capsys.readouterr().out
    assert "trained" in output and "picture" not in output
    assert not (tmp_path / "overview.png").exists()


def test_weights_that_half_precision_cannot_hold_are_not_exported(folder, tmp_path, capsys):
    model = ScoreModel.from_pretrained(folder)
    with torch.no_grad():
        model.network.out.bias.fill_(1e5)
    model.save_pretrained(tmp_path / "large")
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "large"), str(tmp_path / "half")])
    assert "network.out.bias has weights beyond 65504" in capsys.readouterr().err
    assert not (tmp_path / "half").exists()


@pytest.mark.parametrize("command", ["sample", "encode", "export", "evaluate"])
def test_weights_that_are_not_finite_are_used_by_no_command(folder, tmp_path, capsys, command):
    card = checkpoint.read_card(folder)
    model = ScoreModel.from_pretrained(folder)
    with torch.no_grad():
        model.network.out.bias.fill_(float("nan"))
    model.save_pretrained(tmp_path / "nan", **{k: v for k, v in card.items() if k != "model"})
    out = [str(tmp_path / "out")] if command == "export" else []
    with pytest.raises(SystemExit) as stop:
        main([command, str(tmp_path / "nan"), *out])
    assert stop.value.code == 2
    assert "weights that are not finite (network.out.bias)" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["matplotlib", "sklearn", "pandas", "tyro"])
def test_what_is_not_installed_is_named_with_its_extra(module, folder, tmp_path):
    code = f"import sys; sys.modules[{module!r}] = None; from scorerep.runs.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "evaluate", str(folder)],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 2
    assert re.fullmatch(
        rf"{module}[\w.]* is not installed: pip install 'scorerep\[\w+\]'\n", done.stderr
    ), done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_terminal_of_few_letters_and_folder_of_no_alphabet_are_no_crash(tmp_path, encoding):
    place = os.fsencode(tmp_path) + b"/\xff\xfe"
    done = subprocess.run(
        [sys.executable, "-m", "scorerep", "train", "digits", *SMOKE, "--no-report",
         "--folder", place],
        capture_output=True, cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert os.path.exists(place + b"/card.json") and b"pixels" in done.stdout


def test_samplers_of_the_command_are_those_of_the_grid():
    assert get_args(models.Sampler) == get_args(effects.Sampler)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["train", "digits", "--help"]]
)
def test_help_names_commands_and_options(arguments):
    result = subprocess.run(
        [sys.executable, "-m", "scorerep", *arguments],
        capture_output=True, text=True, cwd=ROOT,
        env=os.environ | {"COLUMNS": "100"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    wanted = {
        1: ("usage: scorerep ", "evaluate", "export", "Start with: train digits"),
        2: ("usage: scorerep train ", "--budget {paper,book,smoke}", "scikit-learn's 8×8 digits"),
        3: ("usage: scorerep train digits", "--single-t", "distribution of t", "--budget"),
    }[len(arguments)]
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
