"""One run for each noise level and seed, and a tidy table of their codes' scores (Figure 4).

    runs/fig4-mnist-book/t0.68-seed0/       one run: weights, card, and row.csv once it is scored
    runs/fig4-mnist-book/table.csv          one row a run, and the untrained encoders' and PCA's

Any number of workers may share the folder, on one machine: each takes the first run that
nobody holds. A run that was killed goes on from its last checkpoint; a finished one is
never repeated, since its row is written last.
"""

import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock, Timeout

from scorerep import checkpoint
from scorerep.codes.attributes import scorable_attributes
from scorerep.codes.scores import NEIGHBOURS, encode_in_batches, pca_codes, score_codes
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.runs import folder as folders
from scorerep.runs.experiment import Experiment
from scorerep.runs.fit import fit
from scorerep.runs.paper import SEEDS, TIMES
from scorerep.runs.stop import WorkerError
from scorerep.runs.tables import write_table

LOG = logging.getLogger(__name__)
SPLITS = ("train", "test")


class Scorer:
    """Scores of codes on one data set; attributes and subsets are found once.

    Data of one class have no labels to score by: silhouette, knn and probe are left out.

    Args:
        train: the classifiers and regressions are fitted on at most ``most`` of these images.
        test: scored on at most ``most`` of these, the first ones.
    """

    def __init__(self, train: ImageData, test: ImageData, most: int = 10_000):
        self.train = train.subset(min(most, len(train)))
        self.test = test.subset(min(most, len(test)))
        self.attributes = scorable_attributes(self.train.floats(), self.test.floats())
        self.labels = [data.labels if train.labelled else None for data in (self.train, self.test)]

    def model(self, model: ScoreModel) -> pd.Series:
        """Of the codes of a model: see ``codes.scores.score_codes``."""
        return self.codes(*(encode_in_batches(model, data) for data in (self.train, self.test)))

    def pca(self, latent: int) -> pd.Series:
        """Of the first principal components."""
        return self.codes(*pca_codes(self.train, self.test, latent))

    def codes(self, train_codes, test_codes) -> pd.Series:
        """Of codes of ``self.train`` and ``self.test``."""
        return score_codes(
            train_codes, self.labels[0], test_codes, self.labels[1], *self.attributes,
            k=min(NEIGHBOURS, len(self.train)),
        )  # fmt: skip


def sweep(
    experiment: Experiment,
    train: ImageData,
    test: ImageData,
    folder: Path,
    times: Sequence[float] = TIMES,
    seeds: Sequence[int] = SEEDS,
    save_every: float = 60.0,
    progress: bool = True,
    keep_state: bool = False,
) -> pd.DataFrame:
    """Train ``experiment`` at each single t and seed, as far as nobody else does; the table so far.

    Args:
        experiment: one with times="single_t"; its single_t and seed are replaced.
        seeds: one training of each level for each.
        folder: shared by all workers and by later calls.
        keep_state: keep also what resuming a finished run with a larger budget would need.

    Raises:
        ValueError: the experiment is not of a single t, has no code, or levels or seeds are
            missing or given twice; before anything is trained.
        CheckpointError: a run in ``folder`` is of another experiment or of other data, or asks
            for more steps than were kept; before anything is trained.
    """
    folder, planned, scorer = Path(folder), runs(experiment, times, seeds), None
    check_folder(folder, experiment, train, planned)
    for run in planned:
        place = place_of(run, folder)
        place.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(place / ".lock", timeout=0):
                if is_done(place, run):
                    continue
                scorer = scorer or Scorer(train, test)
                model = fit(run, train, place, save_every, progress)
                card = checkpoint.read_card(place)
                row = {
                    "code": "trained", "t": run.single_t, "seed": run.seed,
                    **scorer.model(model), "matching": card["losses"][-1]["matching"],
                    "iterations": card["iterations_done"], "seconds": card["seconds"],
                }  # fmt: skip
                write_table(pd.DataFrame([row]), place / "row.csv")
                if not keep_state:
                    (place / folders.STATE).unlink(missing_ok=True)
        except Timeout:
            LOG.info("%s is another worker's", place)
    with FileLock(folder / ".lock"):
        there = folder / "baselines.csv"
        table = pd.read_csv(there) if there.exists() else pd.DataFrame({"code": [], "seed": []})
        if missing := [seed for seed in seeds if seed not in set(table["seed"])]:
            new = baselines(experiment, scorer or Scorer(train, test), missing)
            table = pd.concat([table, new] if len(table) else [new], ignore_index=True)
            write_table(table.drop_duplicates(["code", "seed"], keep="last"), there)
        return collect(folder)


def runs(experiment: Experiment, times: Sequence[float], seeds: Sequence[int]) -> list[Experiment]:
    """One a seed and t, seeds outermost: a sweep that is stopped early has every t.

    ``ValueError`` for an experiment that cannot be swept, for no level or seed, for one given
    twice, and for levels that the table, with six digits, would not tell apart.
    """
    if experiment.times != "single_t":
        raise ValueError(f"a sweep over t needs times='single_t', got {experiment.times!r}")
    if not experiment.model.latent:
        raise ValueError("a sweep scores codes: model.latent must be at least 1, got 0")
    for name, values in (("levels", [f"{t:g}" for t in times]), ("seeds", list(seeds))):
        if not values:
            raise ValueError(f"{name} must name at least one")
        if twice := [value for n, value in enumerate(values) if value in values[:n]]:
            raise ValueError(f"{name} must differ (to six digits), got {twice[0]} twice")
    return [replace(experiment, single_t=t, seed=seed) for seed in seeds for t in times]


def place_of(run: Experiment, folder: Path) -> Path:
    return folder / f"t{run.single_t:g}-seed{run.seed}"


def check_folder(
    folder: Path, experiment: Experiment, train: ImageData, planned: Sequence[Experiment]
):
    """``CheckpointError`` if a run that is there is not of this sweep, or cannot go on."""
    checksum = train.checksum()
    asked = {place_of(run, folder): run for run in planned}
    for path in sorted(folder.glob("t*-seed*/card.json")):
        card = checkpoint.read_card(path.parent)
        old = checkpoint.read_entry(path.parent, "experiment", Experiment)
        run = replace(experiment, single_t=old.single_t, seed=old.seed)
        folders.check_same(path.parent, card, run, checksum)
        if path.parent in asked:
            folders.finished_without_state(path.parent, run, card)


def is_done(place: Path, run: Experiment) -> bool:
    """Whether the run at ``place``, which is this one, has its row and all its steps."""
    if not (place / "row.csv").exists() or not (place / "card.json").exists():
        return False
    done = checkpoint.read_card(place).get("iterations_done", 0)
    return done >= run.optimisation.total_iterations


def sweep_together(
    workers: int,
    experiment: Experiment,
    folder: Path,
    times: Sequence[float] = TIMES,
    seeds: Sequence[int] = SEEDS,
):
    """``sweep`` over ``times`` and ``seeds`` by so many processes; waits for all of them.

    Each process has its share of the cores.

    Levels ``times`` and ``seeds`` are those of ``sweep``.

    ``WorkerError`` if one fails: the others save and stop, and the same call goes on.
    """
    from torch.multiprocessing import ProcessExitedException, ProcessRaisedException, spawn

    # A spawned process has its own thread pool, and its own CUDA context.
    context = spawn(
        _work, (workers, experiment, folder, tuple(times), tuple(seeds)), workers, join=False
    )
    try:
        while not context.join():
            pass
    except ProcessRaisedException as error:
        last = str(error).strip().splitlines()[-1]
        raise WorkerError(f"worker {error.error_index} failed: {last}") from None
    except ProcessExitedException as error:
        code = error.exit_code or 0
        why = signal.Signals(-code).name if code < 0 else f"status {code}"
        raise WorkerError(
            f"worker {error.error_index} was stopped by {why}; the same command goes on"
        ) from None
    except KeyboardInterrupt:  # which a terminal sends to the workers too, and kill does not
        for process in context.processes:
            process.terminate()
        for process in context.processes:
            process.join()
        raise


def _work(
    rank: int, workers: int, experiment: Experiment, folder: Path, times: tuple, seeds: tuple
):
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    train, test = (experiment.load(split) for split in SPLITS)
    sweep(experiment, train, test, folder, times, seeds, progress=rank == 0)


def baselines(experiment: Experiment, scorer: Scorer, seeds: Sequence[int]) -> pd.DataFrame:
    """What codes score without any training: untrained encoders of the same seeds, and PCA."""
    rows = [{"code": "PCA", **scorer.pca(experiment.model.latent)}]
    for seed in seeds:
        torch.manual_seed(seed)
        rows.append(
            {"code": "untrained", "seed": seed, **scorer.model(ScoreModel(experiment.model))}
        )
    return pd.DataFrame(rows)


def collect(folder: Path) -> pd.DataFrame:
    """The rows of all finished runs and the baselines, also written to ``folder/table.csv``."""
    rows = [pd.read_csv(path) for path in sorted(folder.glob("*/row.csv"))]
    if (folder / "baselines.csv").exists():
        rows.append(pd.read_csv(folder / "baselines.csv"))
    table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
    if rows and "t" in table:
        table = table.sort_values(["code", "t", "seed"], ignore_index=True)
    write_table(table, folder / "table.csv")
    return table
