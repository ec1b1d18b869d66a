"""Networks trained to predict each target, beside the floor: results/floor_networks.csv.

    python -m book.studies.floor_networks

Dense networks of three hidden layers learn one target at a time on scikit-learn's 8×8 digits, the
way that target is mostly trained, without a code: three networks side by side, with their own
first weights and batches. At two stages their losses are measured at 16 noise levels, on the 1,442
images they are trained on and on the 355 others, beside the floor of the former. All six targets
take a minute of one core. Columns: those of
``scorerep.worlds.floor.floor_of``; ``loss`` and ``held_out`` with standard errors ``loss_se`` and
``held_out_se``; ``iterations`` of 128 images so far.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn
from torch.optim import swa_utils

from scorerep.data import load_data
from scorerep.runs.tables import merge_rows
from scorerep.worlds.empirical import EmpiricalLaw
from scorerep.worlds.floor import floor_of, mmse
from scorerep.worlds.schedule import Schedule

USUAL = {  # target: how it is mostly trained; τ² makes the score's loss that of the noise
    "eps": ("vp-linear", "none"),
    "x0": ("vp-linear", "none"),
    "v": ("vp-cosine", "none"),
    "score": ("ve", "tau2"),
    "F": ("edm", "none"),
    "flow": ("flow", "none"),
}
STAGES = (150, 600)
HOURS = 0.02  # a minute of one core, all six targets
SIGMA_DATA = 0.5  # of F, as in its paper
FREQUENCIES = 8


@dataclass(frozen=True)
class Arguments:
    """Train and measure."""

    targets: tuple[str, ...] = tuple(USUAL)
    """What the networks predict; names of scorerep.worlds.schedule's targets."""
    networks: int = 3
    """Networks for each target."""
    stages: tuple[int, ...] = STAGES
    """Iterations after which the loss is measured."""
    seed: int = 0
    """Seed of the first weights, the batches and the measurement."""
    out: Path = Path("book/results/floor_networks.csv")
    """The table; rows of the same target, seed, stage and level are replaced."""


class Linear(nn.Module):
    """Linear layers of several networks side by side, (networks, batch, in) to (…, out)."""

    def __init__(self, networks: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(networks, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(networks, 1, outputs))
        nn.init.uniform_(self.weight, -(inputs**-0.5), inputs**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class Networks(nn.Module):
    """The target's value from x_t, scaled to unit size, and log σ; each (networks, batch, …)."""

    def __init__(self, networks: int, pixels: int, width: int = 192):
        super().__init__()
        # How much of x_t goes straight to the output.
        self.direct = Linear(networks, 2 * FREQUENCIES, 1)
        sizes = [pixels + 2 * FREQUENCIES, width, width, width]
        layers = []
        for inputs, outputs in zip(sizes, sizes[1:]):
            layers += [Linear(networks, inputs, outputs), nn.SiLU()]
        self.layers = nn.Sequential(*layers, Linear(networks, width, pixels))

    def forward(self, x_t: Tensor, alpha: Tensor, tau: Tensor) -> Tensor:
        angle = (tau / alpha).clamp(max=1e3).log() * torch.linspace(0.2, 3, FREQUENCIES)
        level = torch.cat([angle.sin(), angle.cos()], -1).float()
        x = (x_t / (alpha.square() + tau.square()).sqrt()).float()
        return self.layers(torch.cat([x, level], -1)) + self.direct(level) * x


def value_of(target: str, x_0: Tensor, noise: Tensor, alpha: Tensor, tau: Tensor) -> Tensor:
    """What the networks are to say, as the target's paper has it.

    The score is asked for times τ: its network's output is divided by τ, and its loss, with the
    weight τ², is that of the output.
    """
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


def losses(
    networks: Networks, target: str, schedule: Schedule, x_0: Tensor, t: Tensor, generator
) -> Tensor:
    """The loss of each image, a mean over pixels, at times t (batch,); (networks, batch)."""
    alpha, tau = (a[:, None] for a in schedule.kernel(t))
    noise = torch.randn(x_0.shape, generator=generator, dtype=torch.float64)
    count = len(networks.direct.weight)
    inputs = (a.expand(count, *a.shape[-2:]) for a in (alpha * x_0 + tau * noise, alpha, tau))
    said = networks(*inputs)
    return (said - value_of(target, x_0, noise, alpha, tau).float()).square().mean(2)


def trained(target: str, schedule: Schedule, images: Tensor, arguments: Arguments):
    """Yields each of the stages, and the networks there, their weights averaged over steps."""
    torch.manual_seed(arguments.seed)
    generator, end = torch.Generator().manual_seed(arguments.seed), max(arguments.stages)
    networks = Networks(arguments.networks, images.shape[1])
    smooth = swa_utils.AveragedModel(
        networks, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.98), use_buffers=False
    )
    optimizer = torch.optim.AdamW(networks.parameters(), 2e-3, weight_decay=1e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, end)
    for step in range(1, end + 1):
        index = torch.randint(len(images), (arguments.networks, 128), generator=generator)
        # One time from each of 128 parts of the training that are equally likely.
        share = (torch.arange(128) + torch.rand(128, generator=generator)) / 128
        t = schedule.time_of_share(share.double().clamp(1e-6, 1 - 1e-6))
        loss = losses(networks, target, schedule, images[index], t, generator).mean(1).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(networks.parameters(), 2.0)
        optimizer.step()
        rate.step()
        smooth.update_parameters(networks)
        if step in arguments.stages:
            yield step, smooth.module


@torch.no_grad()
def measured(networks, target, schedule, images: Tensor, times: Tensor, seed: int):
    """Loss and standard error at each of ``times``, (times, networks), of 4,000 noisy images."""
    generator = torch.Generator().manual_seed(1000 + seed)
    x_0 = images.repeat(math.ceil(4000 / len(images)), 1)[None]
    every = torch.stack([
        losses(networks, target, schedule, x_0, t.expand(x_0.shape[1]), generator) for t in times
    ])  # fmt: skip
    return every.mean(2), every.std(2) / math.sqrt(every.shape[2])


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
        for step, networks in trained(target, schedule, train, arguments):
            sides = {
                name: measured(networks, target, schedule, images, times, arguments.seed)
                for name, images in (("loss", train), ("held_out", test))
            }
            for number in range(arguments.networks):
                rows = table.assign(target=target, schedule=path, seed=number, iterations=step)
                for name, (value, error) in sides.items():
                    rows[name], rows[f"{name}_se"] = value[:, number], error[:, number]
                merge_rows(rows, arguments.out, ["target", "seed", "iterations", "t"])
                averages = {
                    column: round(float((rows[column] * rows["probability"]).sum()), 4)
                    for column in ("floor", "loss", "held_out", "linear")
                }
                print(target, number, step, averages, flush=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
