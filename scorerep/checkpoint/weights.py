"""The weights of a model, beside the card that tells of them."""

from pathlib import Path

from torch import Tensor, nn

from scorerep.checkpoint.cards import CARD, WEIGHTS, check_weights
from scorerep.checkpoint.files import CheckpointError, read_tensors


def load_weights(model: nn.Module, path: Path):
    """Copy the weights in ``path`` into ``model`` (any float type); names and shapes must fit.

    ``CheckpointError`` also if the card beside them was written with other weights, or if one
    of them is not finite.
    """
    path = Path(path)
    tensors, _ = read_tensors(path)
    _check_fit(model, tensors, path)
    if path.name == WEIGHTS and (path.parent / CARD).exists():
        check_weights(path.parent)
    fill(model, tensors, path)


def fill(model: nn.Module, tensors: dict[str, Tensor], path: Path):
    """Copy ``tensors``, which were read from ``path``, into ``model``."""
    _check_fit(model, tensors, path)
    own = model.state_dict()
    model.load_state_dict({name: t.to(own[name].dtype) for name, t in tensors.items()})


def _check_fit(model: nn.Module, tensors: dict[str, Tensor], path: Path):
    own = model.state_dict()
    if set(own) != set(tensors):
        missing, extra = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
        raise CheckpointError(
            f"{path} holds the weights of another model: missing {missing[:3]}, "
            f"not expected {extra[:3]}"
        )
    for name, tensor in tensors.items():
        if own[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path} does not fit this model: {name} has shape {tuple(tensor.shape)}, "
                f"expected {tuple(own[name].shape)} (another latent dimension or width?)"
            )
        if own[name].is_floating_point() != tensor.is_floating_point():
            raise CheckpointError(
                f"{path} does not fit this model: {name} is {tensor.dtype}, "
                f"expected {own[name].dtype}"
            )
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(
                f"{path} holds weights that are not finite ({name}): the run that wrote them "
                "diverged, or they are too large for their type"
            )
