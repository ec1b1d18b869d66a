"""How good are codes? Scores by scikit-learn, always beside an untrained encoder and PCA.

    codes = {
        "trained": (encode_in_batches(model, train), encode_in_batches(model, test)),
        "untrained encoder": (encode_in_batches(untrained, train), ...),
        "PCA": pca_codes(train, test, latent=2),
    }
    compare(codes, train.labels, test.labels)

Codes are ``(images, latent)``, labels ``(images,)``: tensors or arrays. The classifiers and the
regression are fitted on the training codes and scored on the test codes; the silhouette is of the
test codes. A score means something only beside those of an untrained encoder and of PCA.
"""

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.stats import bootstrap
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scorerep.codes.encoding import encode_in_batches, pca_codes  # noqa: F401, asked for here
from scorerep.types import checks
from scorerep.types.devices import single_at_least

NEIGHBOURS = 15  # that vote for a class
CONSTANT = 1e-6  # a coordinate whose standard deviation is below this does not vary


def silhouette(codes: ArrayLike, labels: ArrayLike, most: int = 10_000, seed: int = 0) -> float:
    """Mean silhouette of the classes, Euclidean distance, in [−1, 1] (Rousseeuw, 1987).

    Of more than ``most`` codes, that many are drawn with ``seed``: the cost is quadratic.
    """
    codes, labels = _pair(codes, labels)
    most, seed = checks.whole("most", most, 2), checks.whole("seed", seed, 0, 2**32 - 1)
    if len(np.unique(labels)) < 2:
        raise ValueError("labels must be of at least two classes for a silhouette")
    size = most if len(codes) > most else None
    return float(silhouette_score(codes, labels, sample_size=size, random_state=seed))


def knn_accuracy(
    train_codes: ArrayLike, train_labels: ArrayLike, test_codes: ArrayLike, test_labels: ArrayLike,
    k: int = NEIGHBOURS,
) -> float:  # fmt: skip
    """Share of test codes whose class is the most frequent of the k nearest (Euclidean)."""
    train, test = _split(train_codes, train_labels, test_codes, test_labels)
    k = checks.whole("k", k, 1, len(train[0]))  # at most the number of training codes
    return float(KNeighborsClassifier(k).fit(*train).score(*test))


def linear_probe(
    train_codes: ArrayLike, train_labels: ArrayLike, test_codes: ArrayLike, test_labels: ArrayLike
) -> float:
    """Test accuracy of multinomial logistic regression on standardised codes."""
    train, test = _split(train_codes, train_labels, test_codes, test_labels)
    if len(np.unique(train[1])) < 2:
        raise ValueError("train_labels must be of at least two classes for a linear probe")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    return float(probe.fit(*train).score(*test))


def few_label_accuracy(
    train_codes: ArrayLike, train_labels: ArrayLike, test_codes: ArrayLike, test_labels: ArrayLike,
    count: int = 100, draws: int = 5, seed: int = 0,
) -> float:  # fmt: skip
    """``linear_probe`` from ``count`` labels, as many of each class; mean over ``draws`` of them.

    Codes of the same images meet the same draws, which rest on labels and ``seed`` alone."""
    codes, labels = _pair(train_codes, train_labels)
    classes, sizes = np.unique(labels, return_counts=True)
    count, draws = checks.whole("count", count, 0), checks.whole("draws", draws, 0)
    seed = checks.whole("seed", seed, 0)
    each, left = divmod(count, len(classes))
    if draws < 1 or left or not 1 <= each <= sizes.min():
        raise ValueError(
            f"count must be a multiple of the {len(classes)} classes, at most {sizes.min()} images "
            f"each, and draws at least 1, got count={count} and draws={draws}"
        )
    accuracies, rng = [], np.random.default_rng(seed)
    for _ in range(draws):
        drawn = [rng.choice(np.flatnonzero(labels == c), each, replace=False) for c in classes]
        chosen = np.concatenate(drawn)
        accuracies.append(linear_probe(codes[chosen], labels[chosen], test_codes, test_labels))
    return float(np.mean(accuracies))


def linear_r2(
    train_codes: ArrayLike, train_attribute: ArrayLike,
    test_codes: ArrayLike, test_attribute: ArrayLike,
) -> float:  # fmt: skip
    """R² on test codes of the linear regression of an attribute on the code.

    1 is a linear function of the code, 0 no better than the mean. Images whose attribute is
    NaN are left out. All in float64: features can be so nearly collinear that least squares in
    single precision is off by whole units of R².
    """
    train, test = _split(train_codes, train_attribute, test_codes, test_attribute)
    (x, y), (x_test, y_test) = (
        [a[~np.isnan(pair[1])].astype(np.float64) for a in pair] for pair in (train, test)
    )
    if len(y) < 2 or len(y_test) < 2:
        raise ValueError("attributes must have two training and two test values that are not NaN")
    return float(LinearRegression().fit(x, y).score(x_test, y_test))


def linear_fit(
    codes: ArrayLike, attribute: ArrayLike
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Least squares of an attribute on codes: the codes used, slope (latent,), intercept, R².

    Images whose attribute is NaN are left out; all in float64.
    """
    z, values = _pair(codes, attribute)
    values = values.astype(np.float64)
    z, values = z[~np.isnan(values)].astype(np.float64), values[~np.isnan(values)]
    if len(values) < 2:
        raise ValueError("attribute must have at least two values that are not NaN")
    fit = LinearRegression().fit(z, values)
    return z, fit.coef_, float(fit.intercept_), float(fit.score(z, values))


def score_codes(
    train_codes: ArrayLike,
    train_labels: ArrayLike | None,
    test_codes: ArrayLike,
    test_labels: ArrayLike | None,
    train_attributes: pd.DataFrame | None = None,
    test_attributes: pd.DataFrame | None = None,
    k: int = NEIGHBOURS,
) -> pd.Series:
    """All scores of one code: silhouette, knn, probe, code_std, code_std_max, and each r2_….

    ``code_std`` is the *smallest* standard deviation of a coordinate over the test images, and
    ``code_std_max`` (not in tables of earlier runs) the largest. The whole code has collapsed if
    even the largest is near zero. A warning names coordinates that do not vary: they hold nothing.
    Without labels (None for both) silhouette, knn and probe are left out.
    """
    if (train_labels is None) != (test_labels is None):
        raise ValueError("train_labels and test_labels must both be given, or neither")
    labelled = train_labels is not None
    if not labelled:
        train_labels, test_labels = np.zeros(len(train_codes)), np.zeros(len(test_codes))
    train, test = _split(train_codes, train_labels, test_codes, test_labels)
    scores = {
        "silhouette": silhouette(*test),
        "knn": knn_accuracy(*train, *test, k=k),
        "probe": linear_probe(*train, *test),
    } if labelled else {}  # fmt: skip
    spread = test[0].std(0)
    scores |= {"code_std": float(spread.min()), "code_std_max": float(spread.max())}
    if scores["code_std"] < CONSTANT:
        constant = np.flatnonzero(spread < CONSTANT) + 1
        warnings.warn(
            f"coordinate {', '.join(f'z_{i}' for i in constant)} of {test[0].shape[1]} is the same "
            "for all images: the code has collapsed there",
            stacklevel=2,
        )
    if (train_attributes is None) != (test_attributes is None):
        raise ValueError(
            "train_attributes and test_attributes must be given of both train and test images, "
            "or of neither"
        )
    for name in train_attributes if train_attributes is not None else ():
        scores[f"r2_{name}"] = linear_r2(
            train[0], train_attributes[name], test[0], test_attributes[name]
        )
    return pd.Series(scores)


def compare(
    codes: Mapping[str, tuple[ArrayLike, ArrayLike]],
    train_labels: ArrayLike | None,
    test_labels: ArrayLike | None,
    train_attributes: pd.DataFrame | None = None,
    test_attributes: pd.DataFrame | None = None,
    k: int = NEIGHBOURS,
) -> pd.DataFrame:
    """``score_codes`` of several codes of the same images, one row each.

    Args:
        codes: name → (training codes, test codes).
        train_labels, test_labels: None for both if there are none.
        train_attributes, test_attributes: of ``scorerep.codes.attributes.attributes``.
    """
    return pd.DataFrame({
        name: score_codes(
            train, train_labels, test, test_labels, train_attributes, test_attributes, k
        )
        for name, (train, test) in codes.items()
    }).T  # fmt: skip


def bootstrap_interval(
    values: ArrayLike, statistic: Callable = np.mean, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of independent values, e.g. 0/1 for hits."""
    values, seed = _array(values), checks.whole("seed", seed, 0)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values must be (n,) with n of at least 2, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite, but contain NaN or infinity")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    interval = bootstrap(
        (values,), statistic, confidence_level=confidence, n_resamples=999, batch=100,
        method="percentile", rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return float(interval.low), float(interval.high)


def _array(values: ArrayLike) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        if values.is_floating_point():  # numpy has no bfloat16, scikit-learn no float16
            values = values.to(single_at_least(values.dtype))
    return np.asarray(values)


def _pair(codes: ArrayLike, values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    codes, values = _array(codes), _array(values)
    if codes.ndim != 2 or values.shape != (len(codes),):
        raise ValueError(
            f"codes must be (images, latent) and labels or attributes (images,), got {codes.shape} "
            f"and {values.shape}"
        )
    if not len(codes):
        raise ValueError("codes must be of at least one image, got none")
    if not np.isfinite(codes).all():
        raise ValueError("codes must be finite, but contain NaN or infinity")
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise ValueError("labels or attributes must not be infinite")
    return codes, values


def _split(train_codes, train_values, test_codes, test_values):
    train, test = _pair(train_codes, train_values), _pair(test_codes, test_values)
    if train[0].shape[1] != test[0].shape[1]:
        raise ValueError(
            f"training and test codes differ in length: {train[0].shape[1]} and {test[0].shape[1]}"
        )
    return train, test
