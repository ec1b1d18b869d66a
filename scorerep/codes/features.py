"""Which layer to read, at which noise level: scores of all, and of controls of equal size.

    split = Split(train, test, features_of_a_classifier)    # of the test images
    table = feature_table(model, split, (0.2, 0.4, 0.6))
    best(table, "probe")                     # the cell with the highest value, and its best control

A score network that has no code holds features all the same (Xiang et al., 2023): one shows it x_t,
or x_0 and a t, and reads a layer. Which one, nobody can say beforehand. Each layer's features have
three controls that are shown the same images: the same layer of the network before training, as
many principal components of the pixels (or all, if there are fewer), and all pixels. A layer that
is no better than these has learned nothing that counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from scorerep.codes.alignment import cknna
from scorerep.codes.encoding import pca_codes
from scorerep.codes.scores import knn_accuracy, linear_probe
from scorerep.codes.time import features_at
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.types import Codes, Images, checks
from scorerep.types.devices import normal

SOURCES = ("trained", "untrained", "PCA", "pixels")
SCORES = ("probe", "knn", "cknna")


@dataclass(frozen=True)
class Split:
    """Training and test images, and what a supervised network says of the test images."""

    train: ImageData
    test: ImageData
    reference: Codes

    def __post_init__(self):
        if len(self.reference) != len(self.test):
            raise ValueError(
                f"reference must be of the {len(self.test)} test images, got {len(self.reference)}"
            )


def feature_table(
    model: ScoreModel,
    split: Split,
    times: Sequence[float],
    noisy: bool = True,
    pool: int = 2,
    k: int = 15,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores of every layer at every noise level: one row each, and one for each of its controls.

    Columns: source ("trained", "untrained", "PCA", "pixels"), layer, t, numbers (of a feature
    vector), probe and knn (accuracies on the test images), cknna (alignment of the test images'
    features with ``split.reference``, in [−1, 1]).

    Args:
        model: unconditional, with a U-Net.
        split: images to fit on and to score on.
        times: noise levels t in (0, 1].
        noisy: show the network x_t; else x_0 and the t of a noisier image.
        pool: features are means over pool × pool fields.
        seed: of the noise, and of the untrained network's weights.

    Raises:
        ValueError: a model without a U-Net, or with a code; no noise level.
    """
    if not len(times):
        raise ValueError("times must name at least one noise level")
    seed = checks.whole("seed", seed, 0, 2**31 - 1)
    untrained = initial(model, seed)
    rows = []
    for t in map(float, times):
        scored: dict[tuple[str, int], dict] = {}  # controls that several layers share
        for source, layer, codes in _codes(model, untrained, split, t, noisy, pool, seed):
            key = (source, codes[0].shape[1])
            if source in ("PCA", "pixels") and key in scored:
                found = scored[key]
            else:
                found = scored[key] = scores(*codes, split, k)
            rows.append({"source": source, "layer": layer, "t": t, "numbers": key[1], **found})
    return pd.DataFrame(rows)


def initial(model: ScoreModel, seed: int) -> ScoreModel:
    """The ``model`` with weights as they are before training; torch's own stream is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(checks.whole("seed", seed, 0, 2**63 - 1))
        fresh = ScoreModel(model.config)
    return fresh.to(model.device, model.dtype).eval()


def scores(train: Codes, test: Codes, split: Split, k: int = 15) -> dict[str, float]:
    """probe, knn and cknna of the features of the ``train`` and ``test`` images of a ``split``."""
    labels = split.train.labels.cpu(), split.test.labels.cpu()
    train, test = ((part - train.mean(0)).cpu() for part in (train, test))
    return {
        "probe": linear_probe(train, labels[0], test, labels[1]),
        "knn": knn_accuracy(train, labels[0], test, labels[1], k),
        "cknna": cknna(test, split.reference, min(10, len(test) - 1)),
    }


def best(table: pd.DataFrame, score: str = "probe") -> pd.Series:
    """The trained network's row of the highest ``score``, with ``control`` and ``control_source``.

    The control is the best one of the same layer and noise level. A cell that was chosen for being
    the highest of many looks a little better than it is.
    """
    if score not in SCORES:
        raise ValueError(f"score must be one of {', '.join(SCORES)}, got {score!r}")
    own = table[table["source"] == "trained"]
    row = own.loc[own[score].idxmax()]
    here = (table["layer"] == row["layer"]) & (table["t"] == row["t"])
    rivals = table[here & (table["source"] != "trained")]
    rival = rivals.loc[rivals[score].idxmax()]
    return pd.concat([row, pd.Series({"control": rival[score], "control_source": rival["source"]})])


def _codes(
    model: ScoreModel, untrained: ScoreModel, split: Split, t: float, noisy: bool, pool: int,
    seed: int,
) -> Iterator[tuple[str, str, list[Tensor]]]:  # fmt: skip
    """(source, layer, [train, test]) of one noise level."""
    parts = list(enumerate((split.train, split.test), start=2 * seed))
    layers = {}
    for source, network in (("trained", model), ("untrained", untrained)):
        layers[source] = [features_at(network, data, t, noisy, pool, s) for s, data in parts]
        for layer in layers[source][0]:
            if layer != "input":
                yield source, layer, [found[layer].float() for found in layers[source]]
    pixels = [_seen(model, data, t, noisy, s) for s, data in parts]
    flat = [x.flatten(1) for x in pixels]
    most = min(flat[0].shape[1], len(flat[0]) - 1)
    for layer, features in layers["trained"][0].items():
        if layer != "input":
            components = pca_codes(*pixels, min(features.shape[1], most))
            yield "PCA", layer, [torch.from_numpy(codes) for codes in components]
            yield "pixels", layer, flat


def _seen(model: ScoreModel, data: ImageData, t: float, noisy: bool, seed: int) -> Images:
    """The images that ``features_at`` shows the network, on the CPU."""
    x = data.floats()
    if noisy:
        generator = torch.Generator().manual_seed(seed)
        parts = x.split(250)  # the same draws as there
        x = torch.cat([model.sde.perturb(p, t, normal(p.shape, p, generator)) for p in parts])
    return x.cpu()
