"""Scores of codes whose quality is known in advance."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn

from scorerep.codes.scores import (
    bootstrap_interval,
    compare,
    encode_in_batches,
    few_label_accuracy,
    knn_accuracy,
    linear_probe,
    linear_r2,
    pca_codes,
    score_codes,
    silhouette,
)
from scorerep.data import load_data


def blobs(n=300, classes=3, distance=10.0, seed=0):
    """Codes around the corners of a polygon: ``distance`` in standard deviations from 0."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    angle = 2 * math.pi * labels / classes
    return distance * np.c_[np.cos(angle), np.sin(angle)] + rng.normal(size=(n, 2)), labels


class Halver(nn.Module):
    """A stand-in model: the code is half of the first two pixels; dropout shows its mode."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Dropout(0.5).eval()
        self.dropout = nn.Dropout(0.5)
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.sizes = []

    def encode(self, x_0):
        self.sizes.append(len(x_0))
        return self.dropout(self.scale * x_0.flatten(1)[:, 20:22])


# Encoding


def test_encoding_in_batches_equals_encoding_at_once_without_draws_or_gradients():
    data = load_data("digits", "test")
    model = Halver().train()
    model.frozen.eval()
    codes = encode_in_batches(model, data, batch=100)
    torch.testing.assert_close(codes, 0.5 * data.floats().flatten(1)[:, 20:22], rtol=0, atol=0)
    assert model.sizes == [100, 100, 100, 55] and not codes.requires_grad
    assert model.training and model.dropout.training and not model.frozen.training
    assert torch.equal(encode_in_batches(model, data.floats()), codes)


def test_the_mode_is_restored_after_an_error():
    model = Halver().train()
    model.encode = lambda x_0: x_0.nothing
    with pytest.raises(AttributeError):
        encode_in_batches(model, torch.zeros(3, 1, 8, 8))
    assert model.training and model.dropout.training


def test_pca_codes_are_the_projections_on_the_covariances_eigenvectors():
    train, test = load_data("digits", "train"), load_data("digits", "test")
    codes, test_codes = pca_codes(train, test, 3)
    x = train.floats().flatten(1).double()
    values, vectors = torch.linalg.eigh(torch.cov(x.T))
    top, values = vectors.flip(1)[:, :3], values.flip(0)[:3]
    for images, ours in ((train, codes), (test, test_codes)):
        theirs = (images.floats().flatten(1).double() - x.mean(0)) @ top
        torch.testing.assert_close(
            torch.tensor(ours).double().abs(), theirs.abs(), atol=1e-3, rtol=1e-3
        )
    np.testing.assert_allclose(codes.var(0, ddof=1), values, rtol=1e-4)
    assert np.array_equal(pca_codes(train.floats(), test.floats(), 3)[1], test_codes)
    with pytest.raises(ValueError, match="latent must lie in 1..64"):
        pca_codes(train, test, 65)


# Scores


def test_silhouette_equals_its_definition():
    codes, labels = blobs(60, distance=2.0)
    distances, values = cdist(codes, codes), []
    for i, label in enumerate(labels):
        own = distances[i][(labels == label) & (np.arange(60) != i)].mean()
        other = min(distances[i][labels == k].mean() for k in set(labels) - {label})
        values.append((other - own) / max(own, other))
    assert silhouette(torch.tensor(codes), torch.tensor(labels)) == pytest.approx(np.mean(values))


def test_silhouette_of_a_seeded_sample_is_near_that_of_all():
    codes, labels = blobs(3_000, distance=3.0)
    whole, part = silhouette(codes, labels), silhouette(codes, labels, most=1_000)
    assert part != whole and part == pytest.approx(whole, abs=0.03)
    assert part == silhouette(codes, labels, most=1_000)


def test_separate_classes_score_one_and_mixed_ones_score_chance():
    train, test = blobs(600, distance=20), blobs(300, distance=20, seed=1)
    assert knn_accuracy(*train, *test) == linear_probe(*train, *test) == 1
    train, test = blobs(3_000, distance=0), blobs(3_000, distance=0, seed=1)
    for accuracy in (knn_accuracy(*train, *test), linear_probe(*train, *test)):
        assert accuracy == pytest.approx(1 / 3, abs=0.04)
    assert abs(silhouette(*test)) < 0.01


def test_knn_votes_of_the_k_nearest_training_codes():
    train = np.array([[0.0], [1.0], [2.0], [10.0], [11.0]])
    labels = np.array([0, 1, 1, 0, 0])
    assert knn_accuracy(train, labels, [[-0.2]], [0], k=1) == 1
    assert knn_accuracy(train, labels, [[-0.2]], [0], k=3) == 0
    with pytest.raises(ValueError, match="k must lie in 1..5"):
        knn_accuracy(train, labels, [[0.0]], [0])


def test_the_probe_does_not_depend_on_the_scale_of_a_coordinate():
    (train, labels), (test, test_labels) = (
        blobs(600, distance=1.5),
        blobs(300, distance=1.5, seed=1),
    )
    scale = np.array([1e-4, 1e3])
    plain = linear_probe(train, labels, test, test_labels)
    assert linear_probe(train * scale, labels, test * scale, test_labels) == pytest.approx(plain)


def test_r2_is_the_share_of_the_variance_that_is_linear_in_the_code():
    rng = np.random.default_rng(0)
    codes, test = rng.normal(size=(4_000, 2)), rng.normal(size=(4_000, 2))

    def values(z, noise):
        return 1 + z @ [2.0, -1.0] + noise * rng.normal(size=len(z))

    assert linear_r2(codes, values(codes, 0), test, values(test, 0)) == pytest.approx(1)
    noisy = linear_r2(codes, values(codes, math.sqrt(5)), test, values(test, math.sqrt(5)))
    assert noisy == pytest.approx(0.5, abs=0.04)
    assert linear_r2(codes, codes[:, 0] ** 2, test, test[:, 0] ** 2) == pytest.approx(0, abs=0.02)


def test_r2_of_nearly_collinear_features_is_right_though_they_are_in_single_precision():
    # one number 32 times, far from 0 and with small differences, of which the attribute is one
    rng = np.random.default_rng(0)
    codes = 30 + rng.normal(size=(400, 1)) + 1e-5 * rng.normal(size=(400, 32))
    codes = codes.astype(np.float32)
    values = (codes[:, 1].astype(float) - codes[:, 0]) / 1e-5
    assert linear_r2(codes[:200], values[:200], codes[200:], values[200:]) > 0.999


def test_r2_leaves_out_images_without_the_attribute():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(100, 2))
    values = codes[:, 0].copy()
    values[::3] = np.nan
    assert linear_r2(codes, values, codes, values) == pytest.approx(1)
    with pytest.raises(ValueError, match="not NaN"):
        linear_r2(codes, np.full(100, np.nan), codes, values)


# Together


def test_compare_has_one_row_a_code_and_finds_the_better_one():
    train, test = load_data("digits", "train"), load_data("digits", "test")
    rng = np.random.default_rng(0)
    codes = {
        "PCA": pca_codes(train, test, 8),
        "noise": (rng.normal(size=(len(train), 8)), rng.normal(size=(len(test), 8))),
    }
    inks = [pd.DataFrame({"ink": d.floats().mean((1, 2, 3)).numpy()}) for d in (train, test)]
    table = compare(codes, train.labels, test.labels, *inks)
    assert list(table.index) == ["PCA", "noise"]
    assert list(table) == ["silhouette", "knn", "probe", "code_std", "code_std_max", "r2_ink"]
    assert table.loc["PCA", "knn"] > 0.9 and table.loc["noise", "knn"] < 0.2
    assert (table.loc["PCA", ["silhouette", "probe", "r2_ink"]] > table.loc["noise"].drop(
        ["knn", "code_std", "code_std_max"])).all()  # fmt: skip
    row = score_codes(codes["PCA"][0], train.labels, codes["PCA"][1], test.labels, *inks)
    pd.testing.assert_series_equal(row, table.loc["PCA"], check_names=False)


def test_a_coordinate_that_does_not_vary_is_reported():
    (train, labels), (test, test_labels) = blobs(), blobs(seed=1)
    train, test = np.c_[train, np.full(300, 0.7)], np.c_[test, np.full(300, 0.7)]
    with pytest.warns(UserWarning, match="z_3 of 3 is the same for all images"):
        scores = score_codes(train, labels, test, test_labels)
    assert scores["code_std"] == pytest.approx(0, abs=1e-12) and scores["knn"] == 1
    assert scores["code_std_max"] == pytest.approx(test.std(0).max())


def test_a_collapsed_code_scores_chance_and_is_reported():
    labels = np.arange(300) % 3
    with pytest.warns(UserWarning, match="z_1, z_2 of 2"):
        scores = score_codes(np.zeros((300, 2)), labels, np.zeros((300, 2)), labels)
    assert scores["silhouette"] == 0 and scores["probe"] == pytest.approx(1 / 3, abs=0.01)


def test_a_code_that_varies_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_codes(*blobs(), *blobs(seed=1))


def test_bad_input_is_named():
    codes, labels = blobs()
    nans = np.where(codes > 10, np.nan, codes)
    cases = [
        (lambda: silhouette(codes, labels * 0), "at least two classes"),
        (lambda: linear_probe(codes, labels * 0, codes, labels), "at least two classes"),
        (lambda: silhouette(codes, labels[:-1]), r"got \(300, 2\) and \(299,\)"),
        (lambda: knn_accuracy(codes[:, 0], labels, codes, labels), "codes must be"),
        (lambda: knn_accuracy(codes, labels, codes[:, :1], labels), "differ in length: 2 and 1"),
        (lambda: silhouette(nans, labels), "NaN or infinity"),
        (
            lambda: score_codes(codes, labels, codes, labels, pd.DataFrame({"ink": labels})),
            "or of neither",
        ),
        (lambda: bootstrap_interval([1.0]), "n of at least 2"),
        (lambda: bootstrap_interval([1.0, np.nan]), "values must be finite"),
        (lambda: bootstrap_interval([1.0, 2.0], seed=-1), "seed must be at least 0, got -1"),
        (lambda: silhouette(codes, labels, most=1), "most must be at least 2, got 1"),
        (lambda: silhouette(codes, labels, seed=-1), "seed must lie in"),
        (
            lambda: few_label_accuracy(codes, labels, codes, labels, seed=-1),
            "seed must be at least 0, got -1",
        ),
        (lambda: knn_accuracy(codes, labels, codes, labels, k=1.5), "k must be a whole number"),
        (lambda: linear_r2(codes, labels + math.inf, codes, labels), "must not be infinite"),
        (lambda: silhouette(codes[:0], labels[:0]), "codes must be of at least one image"),
        (lambda: encode_in_batches(Halver(), torch.zeros(2, 1, 8, 8), batch=0), "batch must be"),
        (lambda: encode_in_batches(Halver(), torch.full((2, 1, 8, 8), math.nan)), "data must be"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_the_bootstrap_interval_of_a_mean_is_that_of_the_normal_law():
    values = np.random.default_rng(0).normal(3.0, 2.0, 2_000)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / math.sqrt(2_000)
    assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert (low, high) == bootstrap_interval(torch.tensor(values))


def test_few_labels_are_as_many_of_each_class_and_the_same_for_every_code():
    labels = np.repeat(np.arange(4), 50)
    rng = np.random.default_rng(0)
    codes = np.eye(4)[labels] + 0.5 * rng.standard_normal((200, 4))
    noise = rng.standard_normal((200, 4))
    few, many, none = (
        few_label_accuracy(z, labels, z, labels, count=count)
        for z, count in ((codes, 8), (codes, 100), (noise, 8))
    )
    assert none < 0.4 < few < many
    # The same draws for an affine map of the codes, to which a standardised probe is blind.
    again = few_label_accuracy(3 * codes + 1, labels, 3 * codes + 1, labels, count=8)
    assert again == pytest.approx(few, abs=1e-9)


@pytest.mark.parametrize(("count", "draws"), [(6, 5), (0, 5), (204, 5), (8, 0)])
def test_few_labels_must_fit_the_classes(count, draws):
    labels, codes = np.repeat(np.arange(4), 50), np.zeros((200, 2))
    with pytest.raises(ValueError, match="count must be a multiple of the 4 classes"):
        few_label_accuracy(codes, labels, codes, labels, count=count, draws=draws)
