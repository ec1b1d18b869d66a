"""Array types: the one shape contract of the package.

Images are ``(batch, channel, height, width)`` floats in [−1, 1]; toy data are
``(batch, dimension)``. Times t ∈ [0, 1] and noise levels are ``(batch,)`` (a
scalar stands for the whole batch), codes z are ``(batch, latent)``, class
labels y are ``(batch,)`` integers. σ and τ are in the units of the data,
information is in nats.

checks     arguments that are not of this contract, refused in a sentence
devices    where tensors live, and in which precision work is done
"""

from typing import Union

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

Data = Float[Tensor, "batch *shape"]  # images or toy data: whatever the SDE diffuses
Images = Float[Tensor, "batch channel height width"]
PixelImages = UInt8[Tensor, "batch channel height width"]
Points = Float[Tensor, "batch dimension"]
Times = Float[Tensor, "batch"]
Codes = Float[Tensor, "batch latent"]
Labels = Int[Tensor, "batch"]
Chosen = Bool[Tensor, "batch"]  # some items of a batch
Scalar = Float[Tensor, ""]
Level = Union[float, Float[Tensor, ""], Float[Tensor, "batch"]]  # one t, σ or τ, or one each
