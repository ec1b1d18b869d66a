"""The queue of runs: killed and shared workers lose and repeat nothing. On the digits."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from scorerep import checkpoint

ROOT = Path(__file__).parents[2]
PLAN = """
from dataclasses import replace
from pathlib import Path

from scorerep.model import ModelConfig
from scorerep.runs.experiment import Experiment
from scorerep.runs.queue import Plan, Run
from scorerep.training import Optimisation

TINY = Experiment(
    name="tiny",
    model=ModelConfig(image_shape=(1, 8, 8), channels=(8,), blocks=1, dropout=0.0),
    optimisation=Optimisation(iterations=40, batch_size=16, warmup=2, learning_rate=1e-3),
)
PLAN = Plan(
    runs=(
        Run("tiny-s0", "Is it bit-equal?", 0.001, TINY, ships="tiny"),
        Run("tiny-s1", "And another seed?", 0.002, replace(TINY, seed=1)),
        Run("study", "Is a study a run?", 0.001, study=("counted", "--word", "said")),
    ),
    table=Path("results/runs.csv"), checkpoints=Path("checkpoints"),
    stages=(10, 20), most=200, save_every=0.0,
)
"""
STUDY = """
import sys
from pathlib import Path

if __name__ == "__main__":
    with Path("said.txt").open("a") as file:
        file.write(f"{sys.argv[2]}\\n")
"""
TIMING = ["seconds", "core_seconds"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    return prepare(tmp_path, monkeypatch)


def prepare(folder: Path, monkeypatch=None) -> Path:
    (folder / "tiny_plan.py").write_text(PLAN)
    (folder / "counted.py").write_text(STUDY)
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "scorerep.runs.queue", "tiny_plan", "state", *arguments]


def environment() -> dict:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def started(folder: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(*arguments), cwd=folder, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def weights(folder: Path) -> dict:
    return checkpoint.read_tensors(folder)[0]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = prepare(tmp_path_factory.mktemp("unbroken"))
    process = started(folder, "tiny-s0")
    assert process.wait(100) == 0, process.stdout.read()
    return folder


def test_run_writes_rows_of_every_stage_and_its_weights(unbroken):
    table = pd.read_csv(unbroken / "results" / "runs.csv")
    trained = table[table.code == "trained"]
    assert trained.iterations.tolist() == [10, 20, 40]
    assert table.code.value_counts().to_dict() == {"trained": 3, "untrained": 1, "PCA": 1}
    assert trained.epochs.tolist() == pytest.approx([n * 16 / 1442 for n in (10, 20, 40)], rel=1e-4)
    for column in ("silhouette", "knn", "probe", "code_std", "code_std_largest", "matching"):
        assert trained[column].notna().all(), column
    assert (trained.code_std <= trained.code_std_largest).all()
    assert (trained.core_seconds > 0).all() and (table.images == 200).all()
    shipped = unbroken / "checkpoints" / "tiny"
    assert checkpoint.read_card(shipped)["iterations_done"] == 40
    half, whole = weights(shipped / "model.safetensors"), unbroken / "state" / "tiny-s0"
    for name, tensor in weights(whole / "model.safetensors").items():
        assert half[name].dtype == torch.float16 and torch.equal(half[name], tensor.half()), name


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(unbroken, place):
    random.seed(0)
    kills = 0
    # A whole run takes some four seconds, of which training and scoring are the last ones.
    for pause in sorted(random.uniform(2.0, 8.0) for _ in range(5)):
        process = started(place, "tiny-s0")
        try:
            process.wait(pause)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    process = started(place, "tiny-s0")
    assert process.wait(100) == 0, process.stdout.read()
    assert kills
    tables = [pd.read_csv(folder / "results" / "runs.csv") for folder in (unbroken, place)]
    pd.testing.assert_frame_equal(*(t.drop(columns=TIMING) for t in tables), check_exact=True)
    for path in ("state/tiny-s0/model.safetensors", "checkpoints/tiny/model.safetensors"):
        ours, theirs = weights(place / path), weights(unbroken / path)
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items()), path
