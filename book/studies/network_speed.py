"""How fast the score network is, beside a peer of the same size.

    pip install diffusers          # the peer; only this benchmark needs it
    python -m book.studies.network_speed --help
    python -m book.studies.network_speed
    python -m book.studies.network_speed --peer-resampling conv --repeats 20
    python -m book.studies.network_speed --threads 1    # on a machine that is busy with other work

Measured on 28×28 grey images: one training step (forward, backward, Adam) and one
sampler step (forward, no gradient) of ``scorerep.networks.unet.UNet`` and of
``diffusers.UNet2DModel`` with the same channels, two blocks per resolution and no
attention. Neither has a code or an encoder. The two are run in turn in one process, so
that whatever else the machine does slows both; medians and the median of the paired
ratios are printed. "Matrix-product rate" is what a large float32 product reaches on
this machine, measured in the same turns; a network's share of it counts the
multiplications and additions of its convolutions and dense layers (as PyTorch's flop
counter does), nothing else.

The peer's blocks halve and double the resolution inside residual blocks, as ours do
(``--peer-resampling resnet``), or by one convolution (``conv``, its default blocks, which
have less to do). It stays a peer, not a copy: its norm has the same number of groups
everywhere and it does not divide its skips by √2.
"""

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import tyro
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from scorerep.networks.unet import UNet


@dataclass(frozen=True)
class Settings:
    """Time a training step and a sampler step of the score network against diffusers."""

    channels: tuple[int, ...] = ()
    """Channels at each resolution, e.g. 32 64; by default 32 64 and then 16 32 are measured."""
    blocks: int = 2
    """Residual blocks per resolution."""
    batch: int = 64
    """Images in a step."""
    size: int = 28
    """Height and width of the images."""
    repeats: int = 9
    """Timed steps of each; the networks take turns."""
    warm_up: int = 2
    """Steps of each before the clock counts."""
    threads: int = 0
    """CPU threads; 0 leaves PyTorch's own choice."""
    device: str = "cpu"
    """Where to run, e.g. cuda."""
    peer_resampling: Literal["resnet", "conv"] = "resnet"
    """How the peer halves and doubles: in residual blocks (as ours) or by a convolution."""
    seed: int = 0


def main(settings: Settings):
    try:
        from diffusers import UNet2DModel
    except ImportError:
        raise SystemExit(
            "This benchmark compares with diffusers: run `pip install diffusers` first."
        ) from None
    if settings.repeats < 1 or settings.warm_up < 0:
        raise SystemExit("repeats must be at least 1 and warm_up not negative.")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    print(
        f"PyTorch {torch.__version__}, {platform.machine()}, {settings.device}, "
        f"{torch.get_num_threads()} threads, batch {settings.batch}, "
        f"{settings.size}×{settings.size} images, {settings.repeats} repeats"
    )
    for channels in [settings.channels] if settings.channels else [(32, 64), (16, 32)]:
        shape = (1, settings.size, settings.size)
        ours = UNet(shape, channels, settings.blocks, latent=0)
        peer = Peer(UNet2DModel, channels, settings)
        compare(settings, channels, ours.to(settings.device), peer.to(settings.device))


class Peer(nn.Module):
    """``diffusers.UNet2DModel`` behind our network's call."""

    def __init__(self, cls, channels: tuple[int, ...], settings: Settings):
        super().__init__()
        resnet = settings.peer_resampling == "resnet"
        self.network = cls(
            sample_size=settings.size,
            in_channels=1,
            out_channels=1,
            layers_per_block=settings.blocks,
            block_out_channels=channels,
            down_block_types=("ResnetDownsampleBlock2D" if resnet else "DownBlock2D",)
            * len(channels),
            up_block_types=("ResnetUpsampleBlock2D" if resnet else "UpBlock2D",) * len(channels),
            add_attention=False,
            norm_num_groups=max(channels[0] // 4, 1),
            norm_eps=1e-6,
            dropout=0.1,
        )

    def forward(self, x, log_sigma):
        return self.network(x, log_sigma).sample


def compare(settings: Settings, channels: tuple[int, ...], ours: nn.Module, peer: nn.Module):
    networks = {"scorerep": ours, "diffusers": peer}
    name = "/".join(map(str, channels))
    print(f"\n{name} channels, {settings.blocks} blocks, no attention")
    for label, network in networks.items():
        print(f"  {label:10} {sum(p.numel() for p in network.parameters()):>10,} parameters")
    for step_name, make in (("training step", training_step), ("sampler step", sampler_step)):
        steps = {label: make(settings, network) for label, network in networks.items()}
        work = {label: operations(step) for label, step in steps.items()}
        product, product_work = matrix_product(settings.device)
        steps["product"] = product
        seconds = in_turn(steps, settings)
        rates = [product_work / s for s in seconds["product"]]
        print(
            f"  {step_name} (matrix product: {statistics.median(rates) / 1e9:.0f} GFLOP/s, "
            f"from {min(rates) / 1e9:.0f} to {max(rates) / 1e9:.0f})"
        )
        for label in networks:
            share = [work[label] / s / rate for s, rate in zip(seconds[label], rates)]
            print(
                f"    {label:10} median {statistics.median(seconds[label]):.3f} s "
                f"(from {min(seconds[label]):.3f} to {max(seconds[label]):.3f}), "
                f"{work[label] / settings.batch / 1e9:.3f} GFLOP an image, "
                f"{statistics.median(share):.0%} of the matrix-product rate"
            )
        ratios = [a / b for a, b in zip(seconds["scorerep"], seconds["diffusers"])]
        print(
            f"    ratio scorerep/diffusers: median {statistics.median(ratios):.2f} "
            f"(from {min(ratios):.2f} to {max(ratios):.2f})"
        )


def inputs(settings: Settings):
    shape = (settings.batch, 1, settings.size, settings.size)
    x = torch.randn(shape, device=settings.device)
    return x, torch.randn(settings.batch, device=settings.device), torch.randn_like(x)


def training_step(settings: Settings, network: nn.Module) -> Callable[[], object]:
    """Forward, backward and Adam on a mean squared error."""
    x, log_sigma, target = inputs(settings)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-4)

    def step():
        network.train()
        optimizer.zero_grad(set_to_none=True)
        (network(x, log_sigma) - target).square().mean().backward()
        optimizer.step()

    return step


def sampler_step(settings: Settings, network: nn.Module) -> Callable[[], object]:
    """One evaluation without gradient."""
    x, log_sigma, _ = inputs(settings)

    @torch.no_grad()
    def step():
        network.eval()(x, log_sigma)

    return step


def matrix_product(device: str, size: int = 2048) -> tuple[Callable[[], object], int]:
    """A float32 matrix product and its number of operations."""
    a, b, out = (torch.randn(size, size, device=device) for _ in range(3))
    return lambda: torch.mm(a, b, out=out), 2 * size**3


def operations(step: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def in_turn(steps: dict[str, Callable], settings: Settings) -> dict[str, list[float]]:
    """Seconds of each step, one after the other and again, so that load falls on all alike."""
    seconds = {label: [] for label in steps}
    for turn in range(settings.warm_up + settings.repeats):
        # The order turns round each time: none always runs after the same one.
        labels = list(steps) if turn % 2 else list(reversed(steps))
        for label in labels:
            synchronise(settings.device)
            start = time.perf_counter()
            steps[label]()
            synchronise(settings.device)
            if turn >= settings.warm_up:
                seconds[label].append(time.perf_counter() - start)
    return seconds


def synchronise(device: str):
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
