"""The queue of runs: killed and shared workers lose and repeat nothing. On the digits."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from filelock import FileLock

from scorerep import checkpoint
from scorerep.data import load_data
from scorerep.model import ScoreModel
from scorerep.quality import save_classifier, train_classifier
from scorerep.runs import queue
from scorerep.runs.fit import load_experiment
from scorerep.runs.queue import Plan, Run
from scorerep.runs.queue.life import is_alive, signs_of_life
from scorerep.runs.queue.one_run import train
from scorerep.runs.stages import KEY, Judge, made_by
from scorerep.training import Optimisation

ROOT = Path(__file__).parents[2]
PLAN = """
from dataclasses import replace
from pathlib import Path

from scorerep.model import ModelConfig
from scorerep.runs.experiment import Experiment
from scorerep.runs.fit import load_experiment
from scorerep.runs.queue import Plan, Run
from scorerep.training import Optimisation

TINY = Experiment(
    name="tiny",
    model=ModelConfig(image_shape=(1, 8, 8), channels=(8,), blocks=1, dropout=0.0),
    optimisation=Optimisation(iterations=16, batch_size=16, warmup=2, learning_rate=1e-3),
)
PLAN = Plan(
    runs=(
        Run("tiny-s0", "Is it bit-equal?", 0.001, TINY, ships="tiny"),
        Run("tiny-s1", "And another seed?", 0.002, replace(TINY, seed=1)),
        Run("study", "Is a study a run?", 0.001, study=("counted", "--word", "said")),
    ),
    table=Path("results/runs.csv"), checkpoints=Path("checkpoints"),
    stages=(4, 8), most=200, save_every=0.0,
)
"""
STUDY = """
import sys
from pathlib import Path

if __name__ == "__main__":
    with Path("said.txt").open("a") as file:
        file.write(f"{sys.argv[2]}\\n")
"""
KILLER = """
import os, random, signal, sys, time
import torch
import torch._dynamo, torch.distributed.tensor  # before the forks, which then cost little
from scorerep.runs import queue, sweep

def run(folder):
    pid = os.fork()
    if not pid:
        os.chdir(folder)
        sys.path.insert(0, folder)
        os._exit(queue.main("tiny_plan", "state", "tiny-s0"))
    return pid

torch.set_num_threads(1)
unbroken, killed, kills = sys.argv[1], sys.argv[2], int(sys.argv[3])
started = time.monotonic()
assert os.waitpid(run(unbroken), 0)[1] == 0
whole = time.monotonic() - started
random.seed(0)
for _ in range(kills):
    pid = run(killed)
    time.sleep(random.uniform(0.02, 0.2) * whole)
    os.kill(pid, random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
    status = os.waitpid(pid, 0)[1]
    print("ended", os.waitstatus_to_exitcode(status))
assert os.waitpid(run(killed), 0)[1] == 0
"""
TIMING = ["seconds", "core_seconds"]


def prepare(folder: Path) -> Path:
    (folder / "tiny_plan.py").write_text(PLAN)
    (folder / "counted.py").write_text(STUDY)
    return folder


@pytest.fixture
def place(tmp_path):
    return prepare(tmp_path)


def python(folder: Path, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def weights(path: Path) -> dict:
    return checkpoint.read_tensors(path)[0]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One run unbroken, the same killed twenty times, and how the killed processes ended."""
    places = [prepare(tmp_path_factory.mktemp(name)) for name in ("unbroken", "killed")]
    said = python(places[0], "-c", KILLER, *map(str, places), "20")
    return *places, [int(line.split()[1]) for line in said.splitlines() if "ended" in line]


def test_run_writes_rows_of_every_stage_and_its_weights(folders):
    unbroken = folders[0]
    table = pd.read_csv(unbroken / "results" / "runs.csv")
    trained = table[table.code == "trained"]
    assert trained.iterations.tolist() == [4, 8, 16]
    assert table.code.value_counts().to_dict() == {"trained": 3, "untrained": 1, "PCA": 1}
    assert trained.epochs.tolist() == pytest.approx([n * 16 / 1442 for n in (4, 8, 16)], rel=1e-4)
    for column in ("silhouette", "knn", "probe", "code_std", "code_std_max", "matching"):
        assert trained[column].notna().all(), column
    assert (trained.code_std <= trained.code_std_max).all()
    assert (trained.core_seconds > 0).all() and (table.images == 200).all()
    shipped = unbroken / "checkpoints" / "tiny"
    assert checkpoint.read_card(shipped)["iterations_done"] == 16
    assert ScoreModel.from_pretrained(shipped).config.channels == (8,)
    half, whole = weights(shipped / "model.safetensors"), unbroken / "state" / "tiny-s0"
    for name, tensor in weights(whole / "model.safetensors").items():
        assert torch.equal(half[name], tensor.to(half[name].dtype)), name
        # Frequencies of the noise level's features need single precision.
        assert half[name].dtype == torch.float16 or name.endswith("frequencies"), name


def test_killed_at_twenty_random_moments_it_ends_as_if_it_had_not_been(folders):
    unbroken, killed, ends = folders
    assert len(ends) == 20 and ends.count(-9) >= 2  # the others were done before they were killed
    tables = [pd.read_csv(folder / "results" / "runs.csv") for folder in (unbroken, killed)]
    pd.testing.assert_frame_equal(*(t.drop(columns=TIMING) for t in tables), check_exact=True)
    for path in ("state/tiny-s0/model.safetensors", "checkpoints/tiny/model.safetensors"):
        ours, theirs = weights(killed / path), weights(unbroken / path)
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items()), path


def test_workers_share_the_list_and_a_study_is_a_run(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delitem(sys.modules, "tiny_plan", raising=False)
    assert queue.work("tiny_plan", Path("state"), workers=2, nice=0) == 0
    lines = capsys.readouterr().out.splitlines()
    first = [line.split(maxsplit=2)[1] for line in lines[:2]]
    assert first == ["tiny-s0:", "tiny-s1:"]  # at the same time, in order of the list
    assert sorted(line.split()[1] for line in lines if line.endswith(": done")) == [
        "study:", "tiny-s0:", "tiny-s1:"
    ]  # fmt: skip
    assert Path("said.txt").read_text() == "said\n"
    table = pd.read_csv("results/runs.csv")
    assert not table.duplicated(KEY).any()
    assert table[table.code == "trained"].groupby("seed").size().to_dict() == {0: 3, 1: 3}
    # Nothing is left, and nothing is done twice.
    assert queue.work("tiny_plan", Path("state"), workers=2) == 0
    assert capsys.readouterr().out == "" and Path("said.txt").read_text() == "said\n"
    # The folder of the runs can be lost: experiments that are in the table stay done.
    plan = queue.load_plan("tiny_plan")
    words = queue.status(plan, Path("elsewhere")).set_index("name").state.to_dict()
    assert words == {"tiny-s0": "done", "tiny-s1": "done", "study": "waiting"}


def test_run_begins_with_weights_that_it_replaces(folders, tmp_path, monkeypatch):
    """A frozen phase of shipped weights, shipped in their place: killed and started anew, too."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folders[0] / "checkpoints", "checkpoints")
    first = load_experiment(Path("checkpoints/tiny"))
    experiment = replace(
        first, optimisation=replace(first.optimisation, iterations=0, frozen_iterations=4)
    )
    run = Run("more", "Better?", 0.1, experiment, start=Path("checkpoints/tiny"), ships="tiny")
    plan = Plan((run,), Path("results/runs.csv"), Path("checkpoints"), stages=(2,), most=200)
    with pytest.raises(ValueError, match="take .* MB, more than 0.001"):
        train(plan, replace(run, most_mb=0.001), Path("state"))
    before = weights(Path("checkpoints/tiny/model.safetensors"))
    train(plan, run, Path("state"))
    after = weights(Path("checkpoints/tiny/model.safetensors"))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("encoder")} <= same
    assert any(name.startswith("network") for name in set(before) - same)
    card = checkpoint.read_card(Path("checkpoints/tiny"))
    assert card["iterations_done"] == 4 and card["start"]["iterations_done"] == 16
    assert card["encoder_phase"]["iterations_done"] == 16
    table = pd.read_csv("results/runs.csv")
    assert table[table.code == "trained"].iterations.tolist() == [2, 4]
    assert set(table.frozen) == {4} and queue.finished(plan, Path("state")) == {"more"}


TINY = Run("study", "What?", 1.0, study=("a",))


def test_list_says_how_every_run_stands(tmp_path):
    plan = Plan(
        runs=(
            TINY,
            Run("held", "Who?", 2.0, study=("a",)),
            Run("broken", "Why?", 4.0, study=("no_such_module",)),
            Run("last", "When?", 8.0, study=("a",), needs=("held",)),
        ),
        table=tmp_path / "runs.csv",
    )
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "done").touch()
    assert queue.next_run(plan, tmp_path).name == "held"
    (tmp_path / "held").mkdir()
    with signs_of_life(tmp_path / "held") as used:
        assert queue.next_run(plan, tmp_path).name == "broken"
        with pytest.raises(ImportError):
            queue.execute(plan, plan.named("broken"), tmp_path)
        assert queue.next_run(plan, tmp_path, leave={"broken"}) is None
        assert queue.next_run(plan, tmp_path, only="h*") is None
        text = queue.show(queue.status(plan, tmp_path))
        before = used()
        for _ in range(1_000):  # a process's clock has steps of ten milliseconds
            if used() > before:
                break
            sum(i * i for i in range(100_000))
        assert before < used() < before + 60
    assert [line.split()[2] for line in text.splitlines()[1:5]] == [
        "done", "running,", "failed", "waiting"
    ]  # fmt: skip
    assert "1 of 4 done" in text and "14.0 left" in text and "Who?" in text
    assert "broken failed: ImportError: No module named no_such_module" in text
    table = queue.status(plan, tmp_path)
    assert table.set_index("name").state["held"] == "0%"  # nobody is there any more


def test_run_that_another_process_holds_is_left_to_it(tmp_path):
    plan = Plan(runs=(TINY,), table=tmp_path / "runs.csv")
    (tmp_path / "study").mkdir()
    with FileLock(tmp_path / "study" / ".lock"):
        assert queue.execute(plan, TINY, tmp_path) is False
    assert not (tmp_path / "study" / "done").exists()


def test_steps_of_a_killed_process_are_known_at_once(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    sign = {"pid": process.pid, "host": platform.node(), "time": time.time()}
    (tmp_path / "alive.json").write_text(json.dumps(sign))
    assert not is_alive(tmp_path)
    (tmp_path / "alive.json").write_text(json.dumps(sign | {"pid": os.getpid()}))
    assert is_alive(tmp_path)
    (tmp_path / "alive.json").write_text(json.dumps(sign | {"pid": os.getpid(), "time": 0}))
    assert not is_alive(tmp_path)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Run("x", "What?", 1.0), "needs an experiment or a study"),
        (lambda: Run("x", "What?", 0.0, study=("a",)), "hours of 'x' must be positive, got 0"),
        (lambda: Plan(runs=(TINY, TINY)), "two runs of the name study"),
        (lambda: Plan(runs=(replace(TINY, needs=("y",)),)), "study needs y, which the plan has"),
        (lambda: Plan(runs=(TINY,)).named("y"), "no run 'y'"),
        (lambda: queue.load_plan("scorerep.types"), "'scorerep.types' is no module with a PLAN"),
        (lambda: queue.work("tiny", Path("x"), workers=0), "workers must be at least 1, got 0"),
    ],
)
def test_mistakes_in_a_plan_are_named(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_plan_of_the_book_is_whole():
    plan = queue.load_plan("book.studies.plan")
    for run in plan.runs:
        assert run.decides and 0.01 <= run.hours <= 15, run.name
        if run.start:
            assert (ROOT / run.start / "model.safetensors").exists(), run.name
        if run.study:
            assert (ROOT / f"{run.study[0].replace('.', '/')}.py").exists(), run.name
    # A run is told from another by what its rows say.
    keys = [
        (e.name, e.seed, e.single_t, e.optimisation.frozen_iterations, e.optimisation.iterations)
        for e in (run.experiment for run in plan.runs)
        if e
    ]
    assert len(set(keys)) == len(keys)
    # Who ships again what another run has shipped has trained it longer.
    shipped = {}
    for run in plan.runs:
        if run.ships:
            assert run.experiment.optimisation.total_iterations > shipped.get(run.ships, 0), (
                run.name
            )
            shipped[run.ships] = run.experiment.optimisation.total_iterations


def test_samples_are_judged_between_held_out_images_and_draws_of_one_gaussian(tmp_path):
    """Classes that are a part of the data set are found by their names."""
    train = load_data("digits", "train")
    save_classifier(train_classifier(train, iterations=150, batch_size=64), tmp_path)
    judge = Judge("digits", ("3", "8", "0"), tmp_path)
    some = load_data("digits", "test", classes=("3", "8", "0"))
    labels, among = judge.classes_of(some)
    assert set(labels.tolist()) == set(among) == {3, 8, 0}
    held_out, gaussian = judge.floor_and_ceiling(1_000)
    assert held_out["run"] == gaussian["run"] == "digits-3"
    assert held_out["samples"] == gaussian["samples"] == len(some) // 3
    assert held_out["own_class"] > 0.65 > gaussian["own_class"]  # wrong names: none is right
    for distance in ("frechet", "kernel"):
        assert held_out[f"{distance}_low"] <= held_out[distance] <= held_out[f"{distance}_high"]
        assert held_out[distance] < 0.5 * gaussian[distance]


def test_rows_tell_the_two_ways_to_use_muon_apart():
    made = [
        made_by(replace(Optimisation(1), **part))
        for part in (
            {"optimizer": "adam", "muon_for": "blocks"},
            {"optimizer": "muon"},
            {"optimizer": "muon", "muon_for": "blocks"},
        )
    ]
    assert made == ["adam", "muon", "muon for blocks"]
