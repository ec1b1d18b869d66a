"""Codes of whole data sets, by any model with ``encode``, and those of PCA."""

import numpy as np
import torch

from scorerep.codes.learners import PrincipalComponents
from scorerep.data.images import ImageData
from scorerep.types import Codes, Images, checks
from scorerep.types.devices import place_of, single_at_least


def encode_in_batches(model, data: ImageData | Images, batch: int = 500) -> Codes:
    """``model.encode`` of all images, on the CPU: no gradients, in evaluation mode, no draws.

    They are encoded where the model is, in its precision; half precision comes back as float32. The
    modes of the model and of its parts are as before afterwards.

    Raises:
        ValueError: images or codes that are not finite.
    """
    batch = checks.whole("batch", batch, 1)
    place = place_of(model, _images(data, slice(0, 1)))
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            parts = [
                model.encode(_images(data, slice(i, i + batch)).to(*place)).cpu()
                for i in range(
                    0, max(len(data), 1), batch
                )  # of no images the codes are (0, latent)
            ]
    finally:
        for module, training in modes:
            module.training = training
    codes = torch.cat(parts).to(single_at_least(place.dtype))
    if not bool(codes.isfinite().all()):
        raise ValueError("model gives codes that contain NaN or infinity: its weights are damaged")
    return codes


def pca_codes(
    train: ImageData | Images, test: ImageData | Images, latent: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of train and test images by the ``PrincipalComponents`` of ``train``."""
    pca = PrincipalComponents(train, latent)
    return encode_in_batches(pca, train).numpy(), encode_in_batches(pca, test).numpy()


def _images(data: ImageData | Images, indices: slice) -> Images:
    if isinstance(data, ImageData):
        return data.batch(indices)
    return checks.floating("data", data[indices] if isinstance(data, torch.Tensor) else data)
