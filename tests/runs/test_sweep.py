"""The sweep over noise levels: resumable, shared by several workers, one row a run."""

import multiprocessing
import threading
import time
from dataclasses import replace

import pandas as pd
import pytest

from scorerep.checkpoint import CheckpointError
from scorerep.data import load_data
from scorerep.runs import sweep as module
from scorerep.runs.paper import SMOKE, at_budget
from scorerep.runs.stop import WorkerError
from scorerep.runs.sweep import Scorer, collect, runs, sweep
from scorerep.runs.tables import merge_rows

TIMES, SEEDS = (0.3, 0.7), (0, 1)


@pytest.fixture(scope="module")
def data():
    return load_data("mnist", limit=400), load_data("mnist", "test", limit=300)


@pytest.fixture(scope="module")
def experiment():
    return at_budget("fig4-mnist", "smoke")


@pytest.fixture(scope="module")
def finished(experiment, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    return folder, sweep(experiment, *data, folder, TIMES, SEEDS, progress=False)


def test_table_has_one_row_a_run_and_the_baselines(finished):
    folder, table = finished
    assert table.code.value_counts().to_dict() == {"trained": 4, "untrained": 2, "PCA": 1}
    trained = table[table.code == "trained"]
    assert sorted(zip(trained.t, trained.seed, strict=True)) == [
        (0.3, 0), (0.3, 1), (0.7, 0), (0.7, 1)
    ]  # fmt: skip
    for column in ("silhouette", "knn", "r2_stroke_width", "code_std", "seconds", "iterations"):
        assert trained[column].notna().all(), column
    stored = pd.read_csv(folder / "table.csv")
    assert len(stored) == len(table)
    assert stored.silhouette.tolist() == pytest.approx(table.silhouette.tolist(), abs=1e-5)


def test_finished_runs_are_not_repeated(finished, experiment, data, monkeypatch):
    folder, table = finished
    monkeypatch.setattr(module, "fit", lambda *_: pytest.fail("trained again"))
    again = sweep(experiment, *data, folder, TIMES, SEEDS, progress=False)
    assert again.equals(pd.read_csv(folder / "table.csv"))
    assert len(again) == len(table)


def test_killed_sweep_goes_on_and_gives_the_same_table(
    finished, experiment, data, tmp_path, monkeypatch
):
    calls = []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    real = module.fit
    monkeypatch.setattr(module, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        sweep(experiment, *data, tmp_path, TIMES, SEEDS, progress=False)
    assert len(collect(tmp_path)) == 2
    monkeypatch.setattr(module, "fit", real)
    table = sweep(experiment, *data, tmp_path, TIMES, SEEDS, progress=False)
    columns = ["code", "t", "seed", "silhouette", "knn", "r2_stroke_width", "matching"]
    pd.testing.assert_frame_equal(
        table[columns], finished[1][columns], check_exact=False, rtol=1e-4, atol=1e-5
    )


def worker(experiment, folder, queue):
    data = load_data("mnist", limit=400), load_data("mnist", "test", limit=300)
    real = module.fit

    def counted(run, *arguments):
        queue.put((run.single_t, run.seed))
        return real(run, *arguments)

    module.fit = counted
    sweep(experiment, *data, folder, TIMES, SEEDS, progress=False)


def test_two_workers_share_the_runs_without_repeating_one(experiment, tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=worker, args=(experiment, tmp_path, queue)) for _ in range(2)]
    for process in workers:
        process.start()
    for process in workers:
        process.join(timeout=120)
        assert process.exitcode == 0
    done = [queue.get(timeout=5) for _ in range(4)]
    assert queue.empty()
    assert sorted(done) == [(0.3, 0), (0.3, 1), (0.7, 0), (0.7, 1)]
    assert (collect(tmp_path).code == "trained").sum() == 4


@pytest.fixture(scope="module")
def digits():
    return load_data("digits"), load_data("digits", "test")


@pytest.fixture(scope="module")
def small():
    return at_budget("digits", "smoke")


def test_folder_of_another_experiment_or_other_data_is_refused(digits, small, tmp_path):
    sweep(small, *digits, tmp_path, (0.5,), (0,), progress=False)
    others = {
        "differs in model": replace(small, model=replace(small.model, channels=(8, 8))),
        "differs in regulariser_weight": replace(small, regulariser_weight=0.1),
        "differs in optimisation": replace(
            small, optimisation=replace(small.optimisation, iterations=20)
        ),
        "6 steps without the state": replace(
            small, optimisation=replace(small.optimisation, frozen_iterations=20)
        ),
    }
    for message, other in others.items():
        with pytest.raises(CheckpointError, match=message):
            sweep(other, *digits, tmp_path, (0.5,), (0,), progress=False)
    with pytest.raises(CheckpointError, match="differs in model"):  # at a level of its own, too
        sweep(others["differs in model"], *digits, tmp_path, (0.9,), (1,), progress=False)
    with pytest.raises(CheckpointError, match="other data"):
        part = digits[0].subset(300), digits[1]
        sweep(small, *part, tmp_path, (0.9,), (0,), progress=False)
    assert sorted(path.name for path in tmp_path.glob("t*")) == ["t0.5-seed0", "table.csv"]


def test_seeds_that_come_later_get_their_baselines(digits, small, tmp_path):
    first = sweep(small, *digits, tmp_path, (0.5,), (0,), progress=False)
    table = sweep(small, *digits, tmp_path, (0.5,), (0, 1), progress=False)
    untrained = table[table.code == "untrained"]
    assert untrained.seed.tolist() == [0, 1] and (table.code == "PCA").sum() == 1
    before = first[first.code == "untrained"].silhouette.item()
    assert untrained.silhouette.tolist()[0] == pytest.approx(before, abs=1e-5)
    assert untrained.silhouette.nunique() == 2


@pytest.mark.parametrize(
    ("times", "seeds", "message"),
    [
        ((), (0,), "levels must name at least one"),
        ((0.5,), (), "seeds must name at least one"),
        ((0.5, 0.5), (0,), r"levels must differ \(to six digits\), got 0.5 twice"),
        ((0.5, 0.50000001), (0,), "levels must differ"),
        ((0.5,), (0, 1, 0), "seeds must differ .* got 0 twice"),
        ((0.5, 2.0), (0,), r"single_t must lie in \(0, 1\], got 2"),
        ((0.5,), (0, -1), "seed must be in 0..4294967295, got -1"),
    ],
)
def test_bad_levels_and_seeds_are_named_before_training(
    digits, small, tmp_path, times, seeds, message
):
    with pytest.raises(ValueError, match=message):
        sweep(small, *digits, tmp_path, times, seeds, progress=False)
    assert not list(tmp_path.iterdir())


def test_codes_that_cannot_be_scored_are_named_before_training(digits, small, tmp_path):
    plain = replace(small, model=replace(small.model, latent=0), regulariser="none")
    with pytest.raises(ValueError, match="latent must be at least 1"):
        sweep(plain, *digits, tmp_path, (0.5,), (0,), progress=False)
    assert not list(tmp_path.iterdir())


def test_failed_worker_is_one_sentence(small, tmp_path):
    (tmp_path / "t0.5-seed0").write_text("a file in the way")
    with pytest.raises(WorkerError, match=r"worker \d failed: FileExistsError: .*t0.5-seed0'$"):
        module.sweep_together(2, small, tmp_path, (0.5,), (0,))


def test_killed_worker_is_one_sentence(small, tmp_path):
    def kill_one():
        while not (workers := multiprocessing.active_children()):
            time.sleep(0.01)
        workers[0].kill()

    thread = threading.Thread(target=kill_one)
    thread.start()
    with pytest.raises(WorkerError, match=r"worker \d was stopped by SIGKILL; the same command"):
        module.sweep_together(1, small, tmp_path, (0.5,), (0,))
    thread.join()


def test_runs_have_every_t_for_the_first_seed_first(experiment):
    order = [(run.seed, run.single_t) for run in runs(experiment, TIMES, SEEDS)]
    assert order == [(0, 0.3), (0, 0.7), (1, 0.3), (1, 0.7)]


def test_only_a_single_t_is_swept(data, tmp_path):
    wrong = SMOKE.of(at_budget("fig5", "paper"))
    with pytest.raises(ValueError, match="needs times='single_t', got 'uniform_t'"):
        sweep(wrong, *data, tmp_path)


def test_scorer_takes_at_most_so_many_images(data, experiment):
    scorer = Scorer(*data, most=100)
    assert len(scorer.train) == len(scorer.test) == 100
    assert {"r2_ink", "r2_stroke_width", "r2_slant"} <= set(scorer.pca(2).index)
    assert scorer.pca(replace(experiment.model, latent=3).latent).knn > 0.2


def test_merged_rows_replace_those_of_the_same_key_and_keep_the_others(tmp_path):
    path = tmp_path / "table.csv"
    merge_rows(pd.DataFrame({"run": ["b", "a"], "t": [1, 1], "value": [1.5, 2.5]}), path, ["run"])
    table = merge_rows(pd.DataFrame({"run": ["b"], "t": [2], "value": [3.5]}), path, ["run"])
    assert table.run.tolist() == ["a", "b"] and table.value.tolist() == [2.5, 3.5]
    pd.testing.assert_frame_equal(pd.read_csv(path), table)
