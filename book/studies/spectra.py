"""Information spectra: results/spectra.csv of labels, results/code_spectra.csv of trained models.

    python -m book.studies.spectra                       # every job whose rows are missing
    python -m book.studies.spectra --only mnist.class mnist.cells.fig3 --draws 50

The first table holds what labels of a data set are worth on its empirical law, exact up to the
draws of x_t: the class, shuffled classes (a control), an attribute in ten bins of equal counts, and
the *cells* of a code: its k-means clusters, ten like the digits. The second has the spectra of the
models in ``checkpoints`` themselves: on the law a lower bound, held out a plain difference to a
model without a code. A job is a minute or so of one core and writes its rows when it is done, so
that the command can be stopped and repeated. MNIST's classes have more draws, for an error of the
integral below 0.025 nats. The rows of fig2ab and fig5 are those of weights after the first phase,
which ``scorerep train`` keeps in the run's folder ``encoder``.
"""

import resource
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import tyro
from sklearn.cluster import KMeans

from scorerep.checkpoint import CheckpointError
from scorerep.codes.attributes import brightness, stroke_width
from scorerep.codes.information import bins_of, code_spectrum, entropy, label_spectrum
from scorerep.codes.scores import encode_in_batches, pca_codes
from scorerep.data import load_data
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.runs.fit import load_experiment
from scorerep.runs.paper import THREE_CLASSES
from scorerep.runs.tables import rows_of, write_table
from scorerep.sde import VESDE
from scorerep.worlds.empirical import EmpiricalLaw

SETS = {
    "mnist": ("mnist", None),
    "cifar-three": ("cifar10", THREE_CLASSES),
    "cifar": ("cifar10", None),
}
ATTRIBUTES = {"stroke_width": stroke_width, "brightness": brightness}
SIZES = (1_000, 6_000, 0)  # images; 0 for all
CELLS, CELL_IMAGES = 10, 6_000
TIMES = np.r_[0.2, 0.3, 0.4, np.arange(0.45, 0.951, 0.02), 1.0]
MODEL_TIMES = np.linspace(0.1, 1, 19)
LAW_TIMES = MODEL_TIMES[8:]  # below, 60,000 images are told apart and every network loses
KEY = ["data", "labels", "code", "size", "seed"]
AS_WRITTEN = {  # an empty ``code`` is a name
    "keep_default_na": False,
    "na_values": dict.fromkeys(("entropy", "seconds", "peak_mb"), [""]),
}


@dataclass(frozen=True)
class Arguments:
    """Compute spectra."""

    only: tuple[str, ...] = ()
    """Names of jobs or beginnings of names, e.g. mnist.shuffled; all if empty."""
    draws: int = 200
    """Draws of x_t a noise level, on average; a job with fewer in the table is repeated."""
    seed: int = 0
    """Seed of the draws, the subsets and the shuffling."""
    checkpoints: tuple[Path, ...] = ()
    """Folders of trained models, e.g. of a sweep's single t; those in ./checkpoints if empty."""
    out: Path = Path("book/results")
    """Folder of the two tables."""
    names: bool = False
    """Print the names of the jobs and whether they are done, and stop."""


@dataclass(frozen=True)
class Job:
    """One spectrum: labels of data (class, shuffled, an attribute, cells), or a model's."""

    data: str
    labels: str  # "law" and "held out" are a model's own spectra
    code: str = ""  # the trained model, PCA or untrained, for cells, law and held out
    size: int = 0
    draws: int = 200
    seed: int = 0
    folder: Path | None = None

    @property
    def name(self) -> str:
        parts = (self.data, self.labels.replace(" ", "-"), self.code, str(self.size or "all"))
        return ".".join(filter(None, parts))

    @property
    def table(self) -> str:
        return "code_spectra.csv" if self.labels in ("law", "held out") else "spectra.csv"

    def key(self) -> tuple:
        return tuple(getattr(self, column) for column in KEY)

    def run(self) -> pd.DataFrame:
        """The rows of the table; ``seconds`` are of one core, ``peak_mb`` is of the process."""
        started, generator = time.process_time(), torch.Generator().manual_seed(self.seed)
        if self.table == "spectra.csv":
            images, labels = self._labelled(generator)
            law, h = EmpiricalLaw(images, labels), entropy(labels)
            result = label_spectrum(law, VESDE(), TIMES, self.draws, generator)
        else:
            result, law, h = *self._of_model(generator), np.nan
        columns = {column: getattr(self, column) for column in (*KEY, "draws")}
        seconds = round(time.process_time() - started, 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return result.frame(
            **columns, images=len(law), entropy=h, seconds=seconds, peak_mb=peak
        )  # fmt: skip

    def _labelled(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        data = load(self.data, "train")
        data = data.subset(self.size, generator) if self.size else data
        images, labels = data.images, data.labels
        if self.labels == "shuffled":
            labels = labels[torch.randperm(len(labels), generator=generator)]
        if self.labels in ATTRIBUTES:
            measure = ATTRIBUTES[self.labels]
            parts = range(0, len(data), 5_000)
            values = torch.cat([measure(data.batch(slice(i, i + 5_000))) for i in parts])
            keep = values.isfinite()
            images, labels = images[keep], bins_of(values[keep])
        if self.labels == "cells":
            kmeans = KMeans(CELLS, n_init=4, random_state=self.seed)
            cells = kmeans.fit_predict(np.asarray(self._codes(data), dtype=float))
            labels = torch.as_tensor(cells).long()
        return images, labels

    def _codes(self, data: ImageData):
        if self.code == "PCA":
            return pca_codes(data, data, 2)[0]
        if self.code == "untrained":
            torch.manual_seed(self.seed)
            return encode_in_batches(ScoreModel(load_experiment(self.folder).model), data)
        return encode_in_batches(ScoreModel.from_pretrained(self.folder), data)

    def _of_model(self, generator: torch.Generator):
        model, experiment = ScoreModel.from_pretrained(self.folder), load_experiment(self.folder)
        held_out = self.labels == "held out"
        times = MODEL_TIMES if held_out else LAW_TIMES
        if experiment.times == "single_t":
            times = [experiment.single_t]
        law = EmpiricalLaw(load(self.data, "test" if held_out else "train").images)
        without = None
        if held_out:
            without = ScoreModel.from_pretrained(without_code(self.data))
        code = None if model.config.latent else lambda x_0, y: None
        return code_spectrum(
            model, law, model.sde, times, self.draws, generator, code, without
        ), law  # fmt: skip


def load(name: str, split: str) -> ImageData:
    source, classes = SETS[name]
    return load_data(source, split, classes)


def jobs(arguments: Arguments) -> list[Job]:
    """All jobs, the short ones first."""
    draws, seed = arguments.draws, arguments.seed
    common = {"draws": draws, "seed": seed}
    exact = {"draws": 2 * draws, "seed": seed}
    half = {"draws": draws // 2, "seed": seed}
    found = [
        *(Job("mnist", "class", size=n, **exact) for n in SIZES),
        *(Job("mnist", "shuffled", size=n, **exact) for n in SIZES),
        *(Job("mnist", "stroke_width", size=n, **common) for n in SIZES),
    ]
    models = {folder.name: folder for folder in checkpoints(arguments)}
    for name, folder in models.items():
        data, has_code = data_set(folder), load_experiment(folder).model.latent > 0
        if has_code:
            found.append(Job(data, "cells", name, CELL_IMAGES, folder=folder, **common))
        found.append(Job(data, "law", name, folder=folder, **half))
        if has_code and without_code(data):
            found.append(Job(data, "held out", name, folder=folder, **common))
    found.append(Job("mnist", "cells", "PCA", CELL_IMAGES, **common))
    untrained = {"folder": Path("book/checkpoints/fig2ab"), **common}
    found.append(Job("mnist", "cells", "untrained", CELL_IMAGES, **untrained))
    found += [Job("cifar-three", labels, **common) for labels in ("class", "brightness")]
    return found


def checkpoints(arguments: Arguments) -> list[Path]:
    """Folders of models of these data sets; others are left out, or an error when asked for."""
    folders = []
    for folder in arguments.checkpoints or sorted(Path("book/checkpoints").iterdir()):
        try:
            data_set(folder)
            folders.append(folder)
        except (CheckpointError, KeyError, ValueError):
            if arguments.checkpoints:
                raise
    return folders


def data_set(folder: Path) -> str:
    """The name in ``SETS`` of the data that the model in ``folder`` was trained on."""
    experiment = load_experiment(folder)
    if experiment.model.num_classes:
        raise ValueError(f"{folder} is told the class: it has no code of its own")
    of = (experiment.data, tuple(experiment.classes) or None)
    for name, known in SETS.items():
        if known == of:
            return name
    raise ValueError(f"{folder} is of {of}, which is none of the data sets of this table")


def without_code(data: str) -> Path | None:
    """A model of the same data without a code."""
    for folder in sorted(Path("book/checkpoints").glob("fig10*")):
        if data_set(folder) == data:
            return folder
    return None


def done(job: Job, folder: Path) -> bool:
    """Whether the table has this job's rows from at least as many draws."""
    rows = rows_of(folder / job.table, dict(zip(KEY, job.key(), strict=True)), **AS_WRITTEN)
    return len(rows) > 0 and rows.draws.min() >= job.draws


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, **AS_WRITTEN)


def save(rows: pd.DataFrame, path: Path):
    if path.exists():
        rows = pd.concat([read(path), rows])
    columns = [*KEY, "t"]
    # What came last replaces earlier rows of the same job, whatever their noise levels.
    last = rows.groupby(KEY).draws.transform("last") if len(rows) else rows
    rows = rows[rows.draws == last]
    write_table(rows.drop_duplicates(columns, keep="last").sort_values(columns), path)


def main(arguments: Arguments):
    chosen = [
        job
        for job in jobs(arguments)
        if not arguments.only or any(job.name.startswith(name) for name in arguments.only)
    ]
    if not chosen:
        raise SystemExit(f"no job begins with {arguments.only}: --names prints all")
    for job in chosen:
        finished = done(job, arguments.out)
        if finished or arguments.names:
            print(f"{job.name}: {'in the table' if finished else 'to do'}", flush=True)
            continue
        rows = job.run()
        save(rows, arguments.out / job.table)
        print(
            f"{job.name}: {np.trapezoid(rows.value, rows.t):.3f} nats, "
            f"{rows.seconds.iloc[0]:.0f} s of one core, {rows.peak_mb.iloc[0]} MB at most",
            flush=True,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Arguments))
