"""What a run shows of itself: a table of scores, a picture of codes and samples."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure

from scorerep import plots
from scorerep.checkpoint import write_whole
from scorerep.codes.attributes import scorable_attributes
from scorerep.codes.effects import sample_grid
from scorerep.codes.scores import NEIGHBOURS, compare, encode_in_batches, pca_codes
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.sde import VESDE

ATTRIBUTES = 10_000  # images at most whose attributes are found


def score_table(model: ScoreModel, train: ImageData, test: ImageData) -> pd.DataFrame:
    """Scores of the trained codes, of an untrained encoder's and of PCA's, one row each.

    By labels if ``train`` has any, else by what the codes tell of the pictures' attributes.
    """
    torch.manual_seed(0)
    untrained = ScoreModel(model.config).eval().to(next(model.parameters()).device)
    codes = {
        "trained": tuple(encode_in_batches(model, data) for data in (train, test)),
        "untrained encoder": tuple(encode_in_batches(untrained, data) for data in (train, test)),
        "PCA": pca_codes(train, test, model.config.latent),
    }
    k = min(NEIGHBOURS, len(train))
    if train.labelled:
        return compare(codes, train.labels, test.labels, k=k)
    some = [data.subset(min(ATTRIBUTES, len(data))) for data in (train, test)]
    codes = {
        name: tuple(part[: len(data)] for part, data in zip(parts, some, strict=True))
        for name, parts in codes.items()
    }
    return compare(codes, None, None, *scorable_attributes(*(data.floats() for data in some)))


def first_level(data: ImageData, sde: VESDE, latent: int, most: int = 2_000) -> float:
    """A noise level t to begin with: that of noise as strong as principal direction ``latent``.

    There τ² is the variance, over the first ``most`` images, of that direction: above it the noise
    hides what the last number of a linear code would hold. A rule of thumb, made from no labels.
    """
    images = data.batch(slice(most)).flatten(1).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        q = min(latent + 8, *images.shape)
        *_, directions = torch.pca_lowrank(images, q, niter=8)
    variances = ((images - images.mean(0)) @ directions).var(0)
    tau = variances[min(latent, q) - 1].sqrt()
    return float(sde.time_of_tau(tau.clamp(1e-4, 0.99 * sde.sigma_max)))


def overview(model: ScoreModel, test: ImageData, path: Path) -> Path:
    """Codes of test images beside samples on a grid of codes; of codes of two numbers or more."""
    codes = encode_in_batches(model, test).cpu()
    plots.use_style()
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2))
    plots.scatter_codes(codes[:, :2], test.labels.cpu(), ax=left, classes=test.classes)
    low, high = codes[:, :2].quantile(0.05, 0), codes[:, :2].quantile(0.95, 0)
    images, z = sample_grid(model, low, high, side=10, progress=True)
    plots.image_grid(images.cpu(), 10, 10, ax=right, codes=z[:, :2].cpu())
    right.set_title("samples over the middle 90 % of each coordinate")
    write_figure(fig, path)
    return path


def write_figure(fig: Figure, path: Path):
    """The figure ``fig`` as a picture, whole or not at all, in the format of its suffix."""
    kind = path.suffix[1:]
    write_whole(
        path, lambda part: fig.savefig(part, format=kind, bbox_inches="tight", facecolor="white")
    )
    plt.close(fig)
