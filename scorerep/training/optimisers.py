"""The optimiser of a run: Adam alone, or Muon for the score network's matrices beside Adam.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) replaces a matrix's momentum
by the nearest orthogonal matrix, so that a step turns all its directions alike. It is torch's own,
``torch.optim.Muon``, which takes matrices only: a convolution's weight (out, in, height, width) is
shown to it as the matrix (out, in·height·width).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from scorerep.training.optimisation import Optimisation

MOMENTUM = 0.95  # Muon's usual one
FUSED = ("cuda", "mps", "xpu")  # accelerators with a kernel for Adam


class MuonAndAdam(Optimizer):
    """Muon and Adam as one optimiser; a step of it is a step of each.

    ``param_groups`` are Adam's and Muon's, in this order, and hold the parameters themselves, so
    that clipping, gradient scaling and several processes need not know. The state of a
    convolution, its momentum, has the matrix's shape.

    Args:
        others: Adam's, of any shape; may be empty.
        matrices: Muon's, of two dimensions or more; at least one.
        learning_rate, muon_learning_rate: of the first steps; set those of ``param_groups`` later.

    Raises:
        ValueError: no matrix, or one of fewer than two dimensions.
        ImportError: a torch before 2.9, which has no Muon.
    """

    def __init__(
        self,
        others: list[nn.Parameter],
        matrices: list[nn.Parameter],
        learning_rate: float,
        muon_learning_rate: float,
    ):
        if not hasattr(torch.optim, "Muon"):
            raise ImportError(f"optimizer 'muon' needs torch 2.9 or newer, got {torch.__version__}")
        shapes = [tuple(p.shape) for p in matrices]
        if not shapes or min(map(len, shapes)) < 2:
            raise ValueError(f"Muon needs weights of two dimensions or more, got shapes {shapes}")
        self.adam = adam(others, learning_rate) if others else None
        fused = self.adam is not None and bool(self.adam.defaults["fused"])
        groups = [
            # torch then loads Adam's count of steps to where a fused kernel wants it.
            {"params": others, "lr": learning_rate, "fused": fused},
            {"params": matrices, "lr": muon_learning_rate},
        ]
        super().__init__(groups, {})
        self.flat = [nn.Parameter(p.detach().flatten(1)) for p in matrices]
        self.muon = torch.optim.Muon(
            self.flat, muon_learning_rate, weight_decay=0.0, momentum=MOMENTUM
        )

    @torch.no_grad()
    def step(self, closure=None):
        """One step of each, with no ``closure``; parameters without a gradient stay as they are."""
        if closure is not None:
            raise ValueError("closure must be None: the gradients are there already")
        others, matrices = self.param_groups
        if self.adam is not None:
            self.adam.param_groups[0]["lr"] = others["lr"]
            self.adam.step()
        for p, flat in zip(matrices["params"], self.flat, strict=True):
            # Views of the same memory, but copies where weights are channels_last.
            flat.data = p.detach().flatten(1)
            flat.grad = None if p.grad is None else p.grad.flatten(1)
        self.muon.param_groups[0]["lr"] = matrices["lr"]
        self.muon.step()
        for p, flat in zip(matrices["params"], self.flat, strict=True):
            if p.grad is not None:
                p.copy_(flat.view(p.shape))
        for p, (inner, own) in self._inner().items():
            if own in inner.state:
                self.state[p] = inner.state[own]

    def load_state_dict(self, state_dict: dict):
        """Go on where ``state_dict()`` left off."""
        super().load_state_dict(state_dict)
        for p, (inner, own) in self._inner().items():
            inner.state.pop(own, None)
            if p in self.state:
                inner.state[own] = self.state[p]

    def _inner(self) -> dict[Tensor, tuple[Optimizer, Tensor]]:
        """Which optimiser a parameter has, and under which tensor it has it."""
        others, matrices = self.param_groups
        owners = {p: (self.adam, p) for p in others["params"]}
        pairs = zip(matrices["params"], self.flat, strict=True)
        return owners | {p: (self.muon, flat) for p, flat in pairs}


def make_optimizer(model: nn.Module, optimisation: Optimisation) -> Optimizer:
    """The optimiser that ``optimisation.optimizer`` names, for all of ``model``'s parameters.

    Muon has every weight of the score network of two dimensions or more, first and last layers
    too; if it is ``muon_for`` "blocks", not those that embed noise level and code. Adam has its
    biases, the scales of its norms, and the whole encoder. With Muon for the encoder too,
    codes collapsed (code_std 0 in results/recipe_quality.csv, rows "muon, code").
    ``ValueError`` for a model without any such matrix.
    """
    if optimisation.optimizer == "adam":
        return adam(model.parameters(), optimisation.learning_rate)
    rates = optimisation.learning_rate, optimisation.muon_learning_rate
    return MuonAndAdam(*split_parameters(model, optimisation.muon_for), *rates)


def adam(parameters: Iterable[nn.Parameter], learning_rate: float) -> Adam:
    """Adam; on a GPU one kernel updates all ``parameters``."""
    parameters = list(parameters)
    fused = all(p.device.type in FUSED for p in parameters)
    return Adam(parameters, lr=learning_rate, betas=(0.9, 0.999), fused=fused or None)


def split_parameters(
    model: nn.Module, muon_for: str = "all"
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Adam's and Muon's parameters of ``model``; each is in one of the two lists.

    ``muon_for`` is that of ``Optimisation``.
    """
    adams = ("encoder.", "network.conditioning.") if muon_for == "blocks" else ("encoder.",)
    parts = [], []
    for name, p in model.named_parameters():
        parts[p.ndim >= 2 and not name.startswith(adams)].append(p)
    return parts


def set_rates(optimizer: Optimizer, optimisation: Optimisation, step: int):
    """The learning rates of the step after ``step`` finished ones."""
    rates = (optimisation.learning_rate_at(step), optimisation.muon_learning_rate_at(step))
    for group, rate in zip(optimizer.param_groups, rates, strict=False):  # Adam alone has one
        group["lr"] = rate
