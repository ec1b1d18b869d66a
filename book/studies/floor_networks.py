"""Networks trained to predict each target, beside the floor: results/floor_networks.csv.

    python -m book.studies.floor_networks

A dense network of three hidden layers learns one target at a time on scikit-learn's 8×8 digits,
the way that target is mostly trained, without a code. At two stages its loss is measured at 16
noise levels, on the 1,442 images it is trained on and on the 355 others, beside the floor of the
former. Six targets and three seeds take two minutes of one core. Columns: those of
``scorerep.worlds.floor.floor_of``; ``loss`` and ``held_out`` with standard errors ``loss_se`` and
``held_out_se``; ``iterations`` of 128 images so far.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
import tyro
from torch import Tensor, nn

from scorerep.data import load_data
from scorerep.runs.tables import merge_rows
from scorerep.worlds.empirical import EmpiricalLaw
from scorerep.worlds.floor import floor_of, mmse
from scorerep.worlds.law import Estimate
from scorerep.worlds.schedule import Schedule

USUAL = {  # target: how it is mostly trained; τ² makes the score's loss that of the noise
    "eps": ("vp-linear", "none"),
    "x0": ("vp-linear", "none"),
    "v": ("vp-cosine", "none"),
    "score": ("ve", "tau2"),
    "F": ("edm", "none"),
    "flow": ("flow", "none"),
}
STAGES = (200, 1000)
SIGMA_DATA = 0.5  # of F, as in its paper
FREQUENCIES = 8


@dataclass(frozen=True)
class Arguments:
    """Train and measure."""

    targets: tuple[str, ...] = tuple(USUAL)
    """What is predicted."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the networks, their batches and their measurement."""
    stages: tuple[int, ...] = STAGES
    """Iterations after which the loss is measured."""
    out: Path = Path("book/results/floor_networks.csv")
    """The table."""


class Network(nn.Module):
    """The target's value from x_t, scaled to unit size, and log σ; (batch, d) and (batch,)."""

    def __init__(self, pixels: int, width: int = 192):
        super().__init__()
        self.direct = nn.Linear(2 * FREQUENCIES, 1)  # how much of x_t goes straight to the output
        sizes = [pixels + 2 * FREQUENCIES, width, width, width]
        layers = [
            part for a, b in zip(sizes, sizes[1:]) for part in (nn.Linear(a, b), nn.SiLU())
        ]  # fmt: skip
        self.layers = nn.Sequential(*layers, nn.Linear(width, pixels))

    def forward(self, x_t: Tensor, alpha: Tensor, tau: Tensor) -> Tensor:
        angle = (tau / alpha).clamp(max=1e3).log()[:, None] * torch.linspace(0.2, 3, FREQUENCIES)
        level = torch.cat([angle.sin(), angle.cos()], 1).float()
        x = (x_t / (alpha.square() + tau.square()).sqrt()[:, None]).float()
        return self.layers(torch.cat([x, level], 1)) + self.direct(level) * x


def value_of(target: str, x_0: Tensor, noise: Tensor, alpha: Tensor, tau: Tensor) -> Tensor:
    """What the network is to say, as the target's paper has it; (batch, d).

    The score is asked for times τ: its network's output is divided by τ, and its loss, with the
    weight τ², is that of the output.
    """
    alpha, tau = alpha[:, None], tau[:, None]
    if target == "F":
        sigma = tau / alpha
        spread = (sigma.square() + SIGMA_DATA**2).sqrt()
        kept = SIGMA_DATA**2 / spread.square() * (x_0 + sigma * noise)
        return (x_0 - kept) * spread / (sigma * SIGMA_DATA)
    return {
        "eps": noise,
        "x0": x_0,
        "v": alpha * noise - tau * x_0,
        "score": -noise,
        "flow": noise - x_0,
    }[target]


def batch_losses(
    network: Network, target: str, schedule: Schedule, x_0: Tensor, t: Tensor, generator
) -> Tensor:
    """The loss of each image, a mean over pixels, at times ``t`` with fresh noise."""
    alpha, tau = schedule.kernel(t)
    noise = torch.randn(x_0.shape, generator=generator, dtype=torch.float64)
    x_t = alpha[:, None] * x_0 + tau[:, None] * noise
    said = network(x_t, alpha, tau)
    return (said - value_of(target, x_0, noise, alpha, tau).float()).square().mean(1)


def trained(
    target: str, schedule: Schedule, images: Tensor, seed: int, stages: tuple[int, ...]
):  # fmt: skip
    """Yields the network at each of the ``stages``, its weights averaged over the last steps."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = Network(images.shape[1])
    smooth = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98)
    )
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(stages))
    for step in range(1, max(stages) + 1):
        index = torch.randint(len(images), (128,), generator=generator)
        # One time from each of 128 parts of the training that are equally likely.
        share = (torch.arange(128) + torch.rand(128, generator=generator)) / 128
        t = schedule.time_of_share(share.double().clamp(1e-6, 1 - 1e-6))
        loss = batch_losses(network, target, schedule, images[index], t, generator).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        smooth.update_parameters(network)
        if step in stages:
            yield step, smooth.module


@torch.no_grad()
def measured(network, target, schedule, images: Tensor, times: Tensor, seed: int) -> list[Estimate]:
    """The loss at each of ``times``, of all ``images`` with three noises or more each."""
    generator = torch.Generator().manual_seed(1000 + seed)
    x_0 = images.repeat(math.ceil(4000 / len(images)), 1)
    every = (t.expand(len(x_0)) for t in times)
    return [
        Estimate.of(batch_losses(network, target, schedule, x_0, t, generator)) for t in every
    ]  # fmt: skip


def main(arguments: Arguments):
    torch.set_num_threads(1)
    train, test = (
        data.batch(slice(0, len(data))).double().flatten(1)
        for data in (load_data("digits", split) for split in ("train", "test"))
    )
    law = EmpiricalLaw(train)
    for target in arguments.targets:
        path, weighting = USUAL[target]
        schedule = Schedule(path)
        times = schedule.spread(16)
        found = mmse(law, schedule.level(times), 2000, torch.Generator().manual_seed(0))
        table = floor_of(found, schedule, times, target, weighting, SIGMA_DATA)
        for seed in arguments.seeds:
            for step, network in trained(target, schedule, train, seed, arguments.stages):
                rows = table.assign(target=target, schedule=path, seed=seed, iterations=step)
                for name, images in (("loss", train), ("held_out", test)):
                    losses = measured(network, target, schedule, images, times, seed)
                    rows[name] = [loss.value for loss in losses]
                    rows[f"{name}_se"] = [loss.standard_error for loss in losses]
                key = ["target", "seed", "iterations", "t"]
                merge_rows(rows, arguments.out, key)
                average = [float((rows[c] * rows["probability"]).sum()) for c in
                           ("floor", "loss", "held_out", "linear", "ceiling")]  # fmt: skip
                print(target, seed, step, [round(a, 4) for a in average], flush=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
