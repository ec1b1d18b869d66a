"""How alike two representations are: CKNNA, the kernel alignment of common nearest neighbours.

    cknna(features_of_one_network, features_of_another)

Huh et al. (2024) compare two representations φ, ψ of the same images by what they say of nearest
neighbours. With kernels K_ij = ⟨φ_i, φ_j⟩ − mean_l ⟨φ_i, φ_l⟩ and L_ij likewise,

    Align(K, L) = Σ_i Σ_j α_ij K_ij L_ij,    CKNNA = Align(K, L) / √(Align(K, K) Align(L, L)),

where α_ij = 1 if j ≠ i is among the k nearest neighbours of i in φ and in ψ. Without α it would be
CKA, which large distances decide; with it a representation may be alike in its neighbourhoods
alone. Features are centred and of unit length, so that the nearest are those of largest cosine:
the value stays the same under shifts, rotations and a common factor of the features.
"""

import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from scorerep.types import checks
from scorerep.types.devices import single_at_least

TINY = 1e-12


def cknna(a: ArrayLike | Tensor, b: ArrayLike | Tensor, k: int = 10) -> float:
    """CKNNA of two representations of the same images, in [−1, 1]; 1 for equal ones.

    Of features that have nothing to do with each other it is about k/(images − 1). Memory and time
    grow with the square of the number of images: some thousands are enough.

    Args:
        a, b: (images, features) each, not necessarily as many features.
        k: nearest neighbours of an image, itself not counted.

    Raises:
        ValueError: not the same images, not finite, or k not below their number.
    """
    kernels = [_kernel("a", a), _kernel("b", b)]
    n = len(kernels[0])
    if len(kernels[1]) != n:
        raise ValueError(f"b must be of the {n} images of a, got {len(kernels[1])}")
    k = checks.whole("k", k, 1, max(n - 1, 1))
    (one, near_one), (other, near_other) = [(kernel, _nearest(kernel, k)) for kernel in kernels]
    one, other = (kernel - kernel.mean(1, keepdim=True) for kernel in (one, other))
    both = (one * other)[near_one & near_other].sum()
    own = one[near_one].square().sum() * other[near_other].square().sum()
    return float(both / own.sqrt().clamp(min=TINY))


def _kernel(name: str, values: ArrayLike | Tensor) -> Float[Tensor, "images images"]:
    """Cosines of the centred features."""
    x = torch.as_tensor(values).detach()
    if x.ndim != 2 or len(x) < 3:
        raise ValueError(
            f"{name} must be (images, features) of at least 3 images, got {tuple(x.shape)}"
        )
    x = x.to(single_at_least(x.dtype) if x.is_floating_point() else torch.float32).cpu()
    if not bool(x.isfinite().all()):
        raise ValueError(f"{name} must be finite, but contains NaN or infinity")
    x = x - x.mean(0)
    x = x / x.norm(dim=1, keepdim=True).clamp(min=TINY)
    return x @ x.T


def _nearest(kernel: Tensor, k: int) -> Tensor:
    """Which images are among the k nearest ones of each."""
    others = kernel.clone().fill_diagonal_(-torch.inf)
    near = torch.zeros_like(kernel, dtype=torch.bool)
    return near.scatter_(1, others.topk(k, dim=1).indices, True)
