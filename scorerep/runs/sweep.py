"""One run for each noise level and seed, and a tidy table of their codes' scores (Figure 4).

    runs/fig4-mnist/t0.68-seed0/       one run: weights, card, and row.csv once it is scored
    runs/fig4-mnist/table.csv          one row a run, and the untrained encoders' and PCA's

Any number of workers may share the folder, on one machine: each takes the first run that
nobody holds. A run that was killed goes on from its last checkpoint; a finished one is
never repeated, since its row is written last.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock, Timeout

from scorerep.checkpoint import read_card
from scorerep.codes.attributes import attributes
from scorerep.codes.scores import encode_in_batches, pca_codes, score_codes
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.runs.experiment import Experiment
from scorerep.runs.fit import fit
from scorerep.runs.tables import write_table

LOG = logging.getLogger(__name__)
TIMES = (0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 1.0)
SEEDS = (0, 1, 2)


class Scorer:
    """Scores of codes on one data set; attributes and subsets are found once.

    Args:
        train: the classifiers and regressions are fitted on at most ``most`` of these images.
        test: scored on at most ``most`` of these, the first ones.
    """

    def __init__(self, train: ImageData, test: ImageData, most: int = 10_000):
        self.train = train.subset(min(most, len(train)))
        self.test = test.subset(min(most, len(test)))
        self.attributes = [attributes(data.floats()) for data in (self.train, self.test)]

    def model(self, model: ScoreModel) -> pd.Series:
        """Of the codes of a model: see ``evaluation.score_codes``."""
        return self.codes(*(encode_in_batches(model, data) for data in (self.train, self.test)))

    def pca(self, latent: int) -> pd.Series:
        """Of the first principal components."""
        return self.codes(*pca_codes(self.train, self.test, latent))

    def codes(self, train_codes, test_codes) -> pd.Series:
        """Of codes of ``self.train`` and ``self.test``."""
        return score_codes(
            train_codes, self.train.labels, test_codes, self.test.labels, *self.attributes
        )


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
        folder: shared by all workers and by later calls.
        keep_state: keep also what resuming a finished run with a larger budget would need.

    Raises:
        ValueError: the experiment is not of a single t.
        CheckpointError: a run in ``folder`` is of another experiment.
    """
    if experiment.times != "single_t":
        raise ValueError(f"a sweep over t needs times='single_t', got {experiment.times!r}")
    scorer = None
    for run in runs(experiment, times, seeds):
        place = folder / f"t{run.single_t:g}-seed{run.seed}"
        place.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(place / ".lock", timeout=0):
                if (place / "row.csv").exists():
                    continue
                scorer = scorer or Scorer(train, test)
                model = fit(run, train, place, save_every, progress)
                card = read_card(place)
                row = {
                    "code": "trained", "t": run.single_t, "seed": run.seed,
                    **scorer.model(model), "matching": card["losses"][-1]["matching"],
                    "iterations": card["iterations_done"], "seconds": card["seconds"],
                }  # fmt: skip
                write_table(pd.DataFrame([row]), place / "row.csv")
                if not keep_state:
                    (place / "training.safetensors").unlink(missing_ok=True)
        except Timeout:
            LOG.info("%s is another worker's", place)
    with FileLock(folder / ".lock"):
        if not (folder / "baselines.csv").exists():
            scorer = scorer or Scorer(train, test)
            write_table(baselines(experiment, scorer, seeds), folder / "baselines.csv")
        return collect(folder)


def runs(experiment: Experiment, times: Sequence[float], seeds: Sequence[int]) -> list[Experiment]:
    """Seeds outermost: a sweep that is stopped early has every t."""
    return [replace(experiment, single_t=t, seed=seed) for seed in seeds for t in times]


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
