"""The empirical law of a data set: weight 1/N on each of N items.

Its posterior given x_t = x_0 + τ ε weighs the items by exp(−‖x_t − x_i‖²/(2τ²)), so that the
posterior mean, the score and the constant of Eq. (6) are exact for the data at hand; only
the draws of x_t are random in ``constant`` and ``guidance_energy``. At low noise one item has
all the weight: the law has memorised its data, at a τ that falls as N grows.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from scorerep.data.images import to_float
from scorerep.types import Data, Labels, Times, checks
from scorerep.worlds.law import ClassMoments, ExactLaw

LOGITS = 2**24  # log-weights in memory at a time: 128 MB in float64
TOLERANCE = 1e-4  # error in nats that a log-weight may have in float32


class EmpiricalLaw(ExactLaw):
    """1/N Σ_i δ(x_0 − x_i), with the class y_i of each item where there are labels.

    Args:
        images: (N, *shape) floats, or uint8, which becomes x/127.5 − 1 chunk by chunk.
        labels: (N,) integers covering 0, 1, …; the items are copied into the order of their class.
        chunk: items turned into floats at a time.

    Besides the data, memory holds 128 MB of log-weights, a chunk, and the result. Everything runs
    where ``images`` are, and τ must be positive. Nothing is differentiable: an x that asks for a
    gradient is refused, since what is missing in it would not be seen.

    Matrix products are in float32 where this costs less than 1e-4 nats in a log-weight, which
    leaves an error of up to 1e-7 squared radii of the data in a variance. Where τ is small beside
    the radius (below 0.5 for MNIST) they are in float64, as ‖x_t − x_i‖² is then a small
    difference of large numbers.
    """

    def __init__(self, images: Tensor, labels: Labels | None = None, chunk: int = 4096):
        if images.ndim < 2 or images.numel() == 0:
            raise ValueError(f"images must be (N, *shape), not empty, got {tuple(images.shape)}")
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise ValueError(f"images must be uint8 or floating, got {images.dtype}")
        self.shape, self.chunk = tuple(images.shape[1:]), checks.whole("chunk", chunk, 1)
        self.device = images.device
        self.items, self.labels, self.labelled = images.flatten(1), labels, labels is not None
        counts = torch.tensor([len(images)], device=images.device)
        if labels is not None:
            labels = torch.as_tensor(labels, device=images.device)
            if labels.shape != (len(images),) or labels.is_floating_point():
                raise ValueError(
                    f"labels must be {len(images)} integers, got {labels.dtype} "
                    f"{tuple(labels.shape)}"
                )
            if int(labels.min()) < 0 or not bool((counts := labels.bincount()).all()):
                raise ValueError(f"labels must cover 0, 1, …, got {labels.unique().tolist()}")
            # A class is then a slice, and every item enters the products once.
            self.labels, order = labels.long().sort(stable=True)
            self.items = self.items[order]
        self.class_prior = counts.double() / len(images)
        ends = counts.cumsum(0).tolist()
        self.classes = [slice(start, end) for start, end in zip([0, *ends], ends)]
        # Norms are taken from the mean: smaller ones make smaller rounding errors.
        everything = list(self._chunks(slice(0, len(self))))
        self.centre = sum(self._floats(part).sum(0) for part in everything) / len(self)
        squares = [(self._floats(part) - self.centre).square().sum(1) for part in everything]
        self.squares = torch.cat(squares)
        if not bool(self.squares.isfinite().all()):
            raise ValueError("images must be finite")

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, n: int, generator: Generator | None = None) -> tuple[Data, Labels | None]:
        """n items, with replacement, as floats (uint8 becomes [−1, 1]), and their labels if any."""
        where = self.device if generator is None else generator.device
        n = checks.whole("n", n, 0)
        index = torch.randint(len(self), (n,), generator=generator, device=where).to(self.device)
        return self.item(index), None if self.labels is None else self.labels[index]

    def item(self, index: Labels) -> Data:
        """The items of these numbers, in the law's own order, as floats (uint8 is [−1, 1])."""
        x_0 = self.items[index]
        x_0 = to_float(x_0) if x_0.dtype == torch.uint8 else x_0
        return x_0.unflatten(1, self.shape)

    @torch.no_grad()
    def covariance(self) -> Float[Tensor, "dimension dimension"]:
        """Cov(x_0) in float64, of products in float32 unless the images are float64."""
        dtype = torch.float64 if self.items.dtype == torch.float64 else torch.float32
        total = self.squares.new_zeros(self.items.shape[1], self.items.shape[1])
        for part in self._chunks(slice(0, len(self))):
            offsets = self._floats(part, dtype) - self.centre.to(dtype)
            total += offsets.T @ offsets
        return total / len(self)

    def class_moments(self, x: Data, tau2: Times) -> ClassMoments:
        """The moments within classes, for as many x at a time as ``LOGITS`` allows."""
        if torch.is_grad_enabled() and (x.requires_grad or tau2.requires_grad):
            raise ValueError("x must not require a gradient: the empirical law has none to give")
        if not bool((tau2 > 0).all()):
            raise ValueError("tau must be positive: the empirical law has no density")
        x = x.flatten(1)
        size = max(1, LOGITS // len(self))
        parts = [
            self._moments(x[i : i + size], tau2[i : i + size, None])
            for i in range(0, max(len(x), 1), size)
        ]
        return ClassMoments(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    @torch.no_grad()
    def _moments(
        self, x: Float[Tensor, "batch dimension"], tau2: Float[Tensor, "batch 1"]
    ) -> ClassMoments:
        query, radius = x.double() - self.centre, float(self.squares.max()) ** 0.5
        reach = max(radius, float(query.norm(dim=1).amax()) if len(x) else 0.0)
        rounding = 2**-24 * radius * reach / float(tau2.min()) if len(x) else 0.0
        single = rounding < TOLERANCE and self.items.dtype != torch.float64
        dtype = torch.float32 if single else torch.float64
        q, squares, centre = (a.to(dtype) for a in (query, self.squares, self.centre))

        # log-weights −‖x_t − x_i‖²/(2τ²) without the part that is the same for every item
        logits = q.new_empty(len(q), len(self))
        for part in self._chunks(slice(0, len(self))):
            items = self._floats(part, dtype) - centre
            logits[:, part] = torch.addmm(squares[part], q, items.T, beta=-0.5)
        logits /= tau2.to(dtype)

        shape = (len(q), len(self.classes))
        top, total, second = (query.new_zeros(shape) for _ in range(3))
        means = query.new_zeros(*shape, query.shape[1])
        for k, members in enumerate(self.classes):
            weights = logits[:, members]  # a view: they replace the logits
            largest = weights.amax(1, keepdim=True)
            top[:, k] = largest[:, 0]
            weights.sub_(largest).exp_()
            # Sums are in float64, so that rounded weights are still weights of one variance.
            for part in self._chunks(members):
                weights = logits[:, part]
                total[:, k] += weights.double().sum(1)
                second[:, k] += weights.double() @ self.squares[part]
                means[:, k] += weights @ (self._floats(part, dtype) - centre)
        means, second = means / total[..., None], second / total
        normaliser = math.log(len(self)) + 0.5 * query.shape[1] * torch.log(2 * math.pi * tau2)
        log_joint = (
            top + total.log() - 0.5 * query.square().sum(1, keepdim=True) / tau2 - normaliser
        )
        scores = (means - query[:, None]) / tau2[..., None]
        return ClassMoments(log_joint, scores, (second - means.square().sum(2)).clamp(min=0))

    def _chunks(self, items: slice) -> Iterator[slice]:
        for start in range(items.start, items.stop, self.chunk):
            yield slice(start, min(start + self.chunk, items.stop))

    def _floats(self, part: slice, dtype: torch.dtype = torch.float64) -> Tensor:
        items = self.items[part]
        return (to_float(items) if items.dtype == torch.uint8 else items).to(dtype)
