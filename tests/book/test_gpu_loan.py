"""What a loan of a GPU brings back: the runs of most value, in pieces, whole again at home."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from book.studies.plan import AT_PAPER, ON_GPU
from book.tools import gpu
from scorerep import checkpoint
from scorerep.runs import queue


@pytest.fixture
def runs(tmp_path) -> Path:
    for seed, run in enumerate(ON_GPU.runs[:3]):
        generator = torch.Generator().manual_seed(seed)
        tensors = {"ema.x": torch.randn(10_000, generator=generator)}
        folder = tmp_path / "runs" / run.name
        checkpoint.write_tensors(folder / "training.safetensors", tensors)
        checkpoint.write_tensors(folder / "model.safetensors", tensors)
        (folder / "card.json").write_text('{"iterations_done": 7, "seconds": 2.0}')
        (folder / ".lock").touch()
    return tmp_path / "runs"


def test_plan_is_read_on_a_machine_without_what_training_does_not_need():
    program = """
import sys
sys.modules |= dict.fromkeys(("tyro", "skimage", "beartype"))
from book.studies.plan import ON_GPU
print(len(ON_GPU.runs))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{len(ON_GPU.runs)}\n", "")


def test_pieces_hold_the_first_runs_as_far_as_there_is_room(runs, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "state.tar.099").touch()  # of another time
    gpu.pack(ON_GPU, runs, out, 30_000, 4)
    names = [run.name for run in ON_GPU.runs[:3]]
    assert f"no room for {names[2]}" in capsys.readouterr().out
    pieces = sorted(out.iterdir())
    assert [p.name for p in pieces] == [f"state.tar.{i:03d}" for i in range(4)]
    assert max(p.stat().st_size for p in pieces) <= 30_000
    gpu.unpack(out, tmp_path / "home", None)
    assert sorted(p.name for p in (tmp_path / "home").iterdir()) == sorted(names[:2])
    for name in names[:2]:
        found = [p.name for p in sorted((tmp_path / "home" / name).iterdir())]
        assert found == ["card.json", "training.safetensors"]
        for file in found:
            assert (tmp_path / "home" / name / file).read_bytes() == (
                runs / name / file
            ).read_bytes()


def test_speeds_join_the_table_of_results(runs, tmp_path):
    rows = pd.DataFrame(gpu.run_rows(replace(ON_GPU, runs=ON_GPU.runs[:3]), runs, 4))
    assert rows.steps_a_second.tolist() == [3.5] * 3 and set(rows.processes) == {4}
    rows.to_csv(tmp_path / "gpu.csv", index=False)
    for _ in range(2):
        gpu.unpack(tmp_path, tmp_path / "home", tmp_path / "results")
    assert len(pd.read_csv(tmp_path / "results" / "gpu.csv")) == 3


def test_machine_with_the_gpu_trains_what_is_scored_at_home():
    assert [run.experiment for run in ON_GPU.runs] == [run.experiment for run in AT_PAPER.runs]
    assert AT_PAPER.scored and not ON_GPU.scored
    first = AT_PAPER.runs[0].experiment
    assert first.optimisation.total_iterations == 160_000 and first.model.parametrisation == "paper"
    assert queue.load_plan("book.studies.plan:ON_GPU") is ON_GPU
