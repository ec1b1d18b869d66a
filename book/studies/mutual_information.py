"""Estimators of mutual information on tasks of known truth: results/mutual_information.csv.

    python -m book.studies.mutual_information                        # every row that is missing
    python -m book.studies.mutual_information --tasks 1v1-normal-0.75 --seeds 3

Tasks after the benchmark of Czyż et al. (2023), 10,000 points. All estimators are given the same
arrays, normal scores and whitened, so that what differs is the estimator alone. Ours and MINE learn
on four fifths of the points and answer for the last one. A row is written when it is done: the
command can be stopped and given again. What an estimator cannot do has no row. A task whose normal
scores are those of another one to the last bit has the rows of that one. Where the denoisers find
their nats, noise level by noise level, is in results/mutual_spectra.csv.

Two more settings of the denoisers are compared on the tasks of ``COMPARED``: "standardised" is
given the arrays without normal scores, "Xavier" keeps the networks' first weights, as
``estimate`` did at first, and missed the task of Student's law for two seeds of three.

The marks, written down before these rows (27 November 2026; tried on seeds from 101 only):

- A task is *met* by an estimator if each of three seeds is within 0.1 nats of the truth, or within
  a tenth of it where that is more. An answer of zero meets none.
- The default is the setting that meets Student's law (two dimensions, one degree of freedom), and
  has the smallest median of |error| over the tasks of ``COMPARED``. On none of the other tasks that
  had rows before may its mean |error| be more than 0.02 nats above that of "Xavier".
- The default is good enough to rely on if it meets 15 of the 20 tasks.

Then, after the rows of the default were seen, one reason was looked for where it missed: "other
order" (noise on y) for the Swiss roll, "more points" (four times) for 25 dimensions, "more steps"
(four times) for a spiral.

The other twenty of the benchmark's forty tasks came last (28 November 2026), with every setting
as it was. Mark, written down before their rows: again 15 of 20.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
import tyro
from scipy.special import digamma
from sklearn.cross_decomposition import CCA
from sklearn.feature_selection import mutual_info_regression
from sklearn.neighbors import KDTree
from torch import nn

from book.studies.information_tasks import Task, other_tasks, tasks
from scorerep.codes import mutual
from scorerep.codes.information import estimate
from scorerep.codes.mutual import prepared
from scorerep.codes.spectrum import Spectrum
from scorerep.runs.tables import has_row, merge_rows, rows_of
from scorerep.types import Points

KEY = ["task", "estimator", "seed", "points"]
OF_SPECTRA = ["task", "seed", "points", "t"]
COMPARED = (
    "1v1-normal-0.75", "multinormal-sparse-5-5-2-2.0", "1v1-additive-0.1",
    "student-identity-2-2-1", "student-identity-1-1-1",
)  # fmt: skip
SETTINGS = {  # of the denoisers, and the tasks that each is for
    "standardised": COMPARED, "Xavier": COMPARED,
    "other order": ("swissroll_x-normal_cdf-1v1-normal-0.75",),
    "more points": ("multinormal-sparse-25-25-2-2.0",),
    "more steps": ("spiral-multinormal-sparse-3-3-2-2.0",),
}  # fmt: skip
NEIGHBOURS = 5


@dataclass(frozen=True)
class Arguments:
    """Compare estimators of mutual information."""

    tasks: tuple[str, ...] = (*tasks(), *other_tasks())
    """Names of the tasks."""
    estimators: tuple[str, ...] = (
        "denoisers", "KSG", "scikit-learn", "CCA", "MINE", *SETTINGS,
    )  # fmt: skip
    """Names of the estimators; the settings of the first are for some tasks alone."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the points, the weights and the noise."""
    points: int = 10_000
    """Pairs (x, y) drawn for each estimate; four times as many for "more points"."""
    out: Path = Path("book/results/mutual_information.csv")
    """The table; that of the noise levels is beside it, mutual_spectra.csv."""


def denoisers(x: Points, y: Points, seed: int, **options) -> dict:
    """``scorerep.codes.information.estimate`` with its defaults."""
    found = estimate(
        x, y, seed=seed, normal_scores=False, **options
    )  # x and y are whitened already
    return {
        "value": found.value, "standard_error": found.standard_error, "energy": found.energy,
        "spectrum": found.spectrum,
    }  # fmt: skip


def xavier(x: Points, y: Points, seed: int) -> dict:
    """The same from the first weights that ``DenseNetwork`` gives."""
    with mock.patch.object(mutual, "he_initialised", lambda network: network):
        return denoisers(x, y, seed)


def other_order(x: Points, y: Points, seed: int) -> dict:
    """Noise on y, told x."""
    return denoisers(y, x, seed)


def more_steps(x: Points, y: Points, seed: int) -> dict:
    """Four times the steps."""
    budget = replace(mutual.BUDGET, iterations=4 * mutual.BUDGET.iterations)
    return denoisers(x, y, seed, optimisation=budget)


def nearest_neighbours(x: Points, y: Points, seed: int) -> dict:
    """KSG's first estimator, by scikit-learn's KDTree, in the largest coordinate difference."""
    both = torch.cat([x, y], 1)
    distances, _ = KDTree(both, metric="chebyshev").query(both, NEIGHBOURS + 1)  # itself is one
    radius = np.nextafter(distances[:, -1], 0)
    counts = [
        # Within its own radius is the point itself: the count is one more than its neighbours.
        digamma(KDTree(part, metric="chebyshev").query_radius(part, radius, count_only=True))
        for part in (x, y)
    ]
    value = digamma(NEIGHBOURS) + digamma(len(x)) - np.mean(counts[0] + counts[1])
    return {"value": float(value)}


def scikit_learn(x: Points, y: Points, seed: int) -> dict | None:
    """``mutual_info_regression``, which is for one number and one number."""
    if x.shape[1] > 1 or y.shape[1] > 1:
        return None
    return {"value": float(mutual_info_regression(x, y[:, 0], random_state=seed)[0])}


def canonical_correlations(x: Points, y: Points, seed: int) -> dict:
    """What two normal vectors of these canonical correlations tell of each other."""
    count = min(x.shape[1], y.shape[1])
    u, v = CCA(count, max_iter=2_000).fit_transform(x, y)
    squares = [np.corrcoef(u[:, i], v[:, i])[0, 1] ** 2 for i in range(count)]
    return {"value": float(-0.5 * np.log1p(-np.array(squares)).sum())}


def mine(x: Points, y: Points, seed: int, steps: int = 1_500, batch: int = 256) -> dict:
    """Belghazi et al. (2018): the Donsker–Varadhan bound of held-out pairs, of a learned critic."""
    torch.manual_seed(seed)
    width, held = 64, len(x) // 5
    critic = nn.Sequential(
        nn.Linear(x.shape[1] + y.shape[1], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, 1),
    )  # fmt: skip
    optimizer, mean = torch.optim.Adam(critic.parameters(), 1e-3), None
    x_test, y_test, x, y = x[:held], y[:held], x[held:], y[held:]
    for _ in range(steps):
        i, j = torch.randint(len(x), (2, batch))
        joint = critic(torch.cat([x[i], y[i]], 1)).mean()
        apart = critic(torch.cat([x[i], y[j]], 1)).exp().mean()
        # The moving average takes the bias out of the gradient of the logarithm.
        mean = apart.detach() if mean is None else 0.99 * mean + 0.01 * apart.detach()
        optimizer.zero_grad()
        (apart / mean - joint).backward()
        optimizer.step()
    with torch.no_grad():
        joint = critic(torch.cat([x_test, y_test], 1)).mean()
        apart = [
            critic(torch.cat([x_test, y_test.roll(k, 0)], 1)) for k in range(1, 21)
        ]  # twenty partners for each point
    bound = joint - (torch.cat(apart).logsumexp(0) - math.log(20 * held))
    return {"value": float(bound)}


ESTIMATORS: dict[str, Callable] = {
    "denoisers": denoisers, "KSG": nearest_neighbours, "scikit-learn": scikit_learn,
    "CCA": canonical_correlations, "MINE": mine, "standardised": denoisers, "Xavier": xavier,
    "other order": other_order, "more points": denoisers, "more steps": more_steps,
}  # fmt: skip


def key_of(task: str, estimator: str, seed: int, points: int) -> dict:
    """What tells a row from all others; ``points`` are those that the estimator was given."""
    given = 4 * points if estimator == "more points" else points
    return dict(zip(KEY, (task, estimator, seed, given), strict=True))


def row(task: Task, estimator: str, seed: int, points: int) -> dict | None:
    """One estimate beside the truth; None where the estimator is not for such arrays.

    That of denoisers has a ``spectrum``, which is no column.
    """
    scores = estimator != "standardised"
    key = key_of(task.name, estimator, seed, points)
    drawn = task.sample(key["points"], seed)
    x, y = (prepared(name, a, scores) for name, a in zip("xy", drawn, strict=True))
    started = time.process_time()
    found = ESTIMATORS[estimator](x, y, seed)
    if found is None:
        return None
    seconds = round(time.process_time() - started, 1)
    return {
        **key, "truth": float(task.information), "standard_error": math.nan, "energy": math.nan,
        **found, "seconds": seconds,
    }  # fmt: skip


def work(arguments: Arguments):
    """Write every missing row; tasks outermost, so that a table stopped early has whole tasks."""
    known = tasks() | other_tasks()
    for name in arguments.tasks:
        for seed in arguments.seeds:
            for estimator in arguments.estimators:
                if name not in SETTINGS.get(estimator, (name,)):
                    continue
                if has_row(arguments.out, key_of(name, estimator, seed, arguments.points)):
                    continue
                if copied(known, name, estimator, seed, arguments):
                    continue
                found = row(known[name], estimator, seed, arguments.points)
                if found is not None:
                    spectrum = found.pop("spectrum", None)
                    if estimator == "denoisers":
                        about = {k: found[k] for k in OF_SPECTRA[:3]}
                        keep(spectrum, arguments.out.with_name("mutual_spectra.csv"), about)
                    merge_rows(pd.DataFrame([found]), arguments.out, KEY)
                    shown = {k: found[k] for k in ("truth", "value", "seconds")}
                    print(name, estimator, seed, shown, flush=True)


def copied(known: dict[str, Task], name: str, estimator: str, seed: int, arguments) -> bool:
    """Whether the rows of another task, whose normal scores are the same, could be taken over."""
    first, out = known[name].ranks_of, arguments.out
    key = key_of(first, estimator, seed, arguments.points)
    if not first or not has_row(out, key):
        return False
    arrays = [known[k].sample(arguments.points, seed) for k in (name, first)]
    same = all(torch.equal(prepared("a", a), prepared("b", b)) for a, b in zip(*arrays))
    if same:
        spectra = out.with_name("mutual_spectra.csv") if estimator == "denoisers" else None
        for path, columns in ((out, KEY), (spectra, OF_SPECTRA)):
            if path is not None:
                rows = rows_of(path, {k: key[k] for k in columns if k in key})
                merge_rows(rows.assign(task=name), path, columns)
    return same


def keep(spectrum: Spectrum, out: Path, about: dict):
    """Write it, nats per unit of t; t as the file has it, so that rows made again are replaced.

    Args:
        about: task, seed and points.
    """
    levels = spectrum.frame(**about).round({"t": 6})
    merge_rows(levels[[*OF_SPECTRA, "value", "standard_error"]], out, OF_SPECTRA)


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(tyro.cli(Arguments))
