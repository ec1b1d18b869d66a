"""The state of a training run: what the loop yields, saves, and goes on from."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from scorerep import checkpoint
from scorerep.model import ScoreModel
from scorerep.objective import Losses
from scorerep.types import Scalar


class TrainingDiverged(RuntimeError):
    """A loss or gradient became NaN or infinite; the last checkpoint is still good."""


@dataclass
class TrainingState:
    """What the loop yields. ``step`` counts the finished steps; the rest is live, not a copy.

    ``losses`` are tensors on the device, of this process's share of the batch: reading one, as a
    number, waits for the step to end. ``mean_losses`` are those of the whole batch.
    """

    step: int
    losses: Losses | None
    model: ScoreModel
    ema: AveragedModel
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    _first: int = field(default=0, repr=False)  # steps before the first one noted
    _noted: int = field(default=0, repr=False)  # steps whose losses were looked at
    _finite: Tensor | None = field(default=None, repr=False)  # those before the first bad one

    @property
    def averaged(self) -> ScoreModel:
        """The model with averaged weights, the one to use: in evaluation mode, without gradients.

        Raises ``TrainingDiverged`` rather than hand out weights that are not finite, for which
        one number of the device is read.
        """
        self.check()
        return self.ema.module

    def mean_losses(self) -> Losses:
        """The losses of the whole batch; where there are several processes, all have to call it.

        ``code_std`` is the mean over their shares, as it is over the parts of one.
        """
        losses = torch.stack([*self.losses]).detach()
        return Losses(*self.accelerator.reduce(losses, "mean"))

    def note(self, *values: Scalar):
        """Count a step, as good if ``values`` and all before them are finite; reads nothing."""
        if self._finite is None:
            self._first = self.step
            self._finite = torch.zeros((), dtype=torch.int64, device=values[0].device)
        good = torch.stack([value.detach().isfinite() for value in values]).all()
        self._finite += good & (self._finite == self._noted)
        self._noted += 1

    def check(self):
        """``TrainingDiverged``, with the step, if a loss or gradient was not finite."""
        if self._finite is None:
            return
        finite = int(self._finite)
        if finite < self._noted:
            first = self._first + finite + 1
            raise TrainingDiverged(
                f"the loss or its gradient is not finite at step {first}: the last checkpoint is "
                "kept; try a smaller learning_rate or precision='no'"
            )

    def save(self, path: Path, **metadata: str):
        """Everything that resuming needs, as one safetensors file.

        ``TrainingDiverged`` instead of a file of weights that are not finite.
        """
        self.check()
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.module.state_dict().items()}
        tensors |= {"ema_updates": self.ema.n_averaged}
        tensors |= checkpoint.optimizer_tensors(self.optimizer)
        metadata = {**metadata, "step": str(self.step)}
        if self.accelerator.scaler is not None:
            scaler = self.accelerator.scaler.state_dict()
            metadata |= {f"scaler.{k}": repr(v) for k, v in scaler.items()}
        checkpoint.write_tensors(path, tensors, metadata)

    def load(self, path: Path):
        """Go on where ``save`` left off; ``CheckpointError`` for a damaged or unfitting file.

        Older files also hold the state of random generators ("random.…"), which is passed over:
        the rest of such a run draws other noise than it would have then.
        """
        tensors, metadata = checkpoint.read_tensors(path)
        try:
            for module, prefix in ((self.model, "model."), (self.ema.module, "ema.")):
                module.load_state_dict(
                    {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                )
            self.ema.n_averaged.copy_(tensors["ema_updates"])
            checkpoint.load_optimizer_tensors(self.optimizer, tensors)
            self.step = int(metadata["step"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise checkpoint.CheckpointError(
                f"{path} is not the training state of this experiment: {str(error).splitlines()[0]}"
            ) from None
        if self.accelerator.scaler is not None and "scaler.scale" in metadata:
            names = ("scale", "growth_factor", "backoff_factor", "growth_interval")
            state = {k: float(metadata[f"scaler.{k}"]) for k in names}
            state["growth_interval"] = int(state["growth_interval"])
            state["_growth_tracker"] = int(metadata["scaler._growth_tracker"])
            self.accelerator.scaler.load_state_dict(state)
