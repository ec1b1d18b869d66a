"""Public complaints of a loss that stops falling, answered by ``scorerep floor``.

Each names its thread. The data of the complaint are not here: stand-ins of the same kind are made,
smooth colour fields for photographs, eight numbers for a path in the plane.
"""

import re

import pandas as pd
import pytest
import torch

import scorerep.data
from scorerep.data import ImageData
from scorerep.runs.cli import main
from scorerep.worlds.floor import average

SMALL = ["--draws", "32", "--levels", "8"]


def photographs(count: int = 600, side: int = 12) -> torch.Tensor:
    """Colour fields whose amplitude falls like 1/f, as that of photographs does; uint8."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 3, side, side, generator=generator, dtype=torch.float64)
    grey = noise.mean(1, keepdim=True) * 3**0.5
    f = torch.fft.fftfreq(side)
    amplitude = 1 / (f[:, None].square() + f.square() + side**-2).sqrt()
    field = torch.fft.ifft2(torch.fft.fft2(0.8 * grey + 0.3 * noise) * amplitude).real
    field = 0.5 * field / field.std() + 0.2 * torch.randn(count, 1, 1, 1, generator=generator)
    return ((field.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def paths(count: int = 600) -> torch.Tensor:
    """x, y, cos and sin of two vehicles, normal with a standard deviation of a quarter; uint8."""
    numbers = torch.randn(count, 1, 2, 4, generator=torch.Generator().manual_seed(0))
    return (numbers / 4 * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    def asked(images: torch.Tensor, *arguments: str):
        labels = torch.zeros(len(images), dtype=torch.long)
        data = ImageData(images, labels, ("one",), "cifar10", "train")
        monkeypatch.setattr(scorerep.data, "load_data", lambda name, split, **_: data)
        out = tmp_path / "floor.png"
        main(["floor", "cifar10", *SMALL, "--out", str(out), *arguments])
        said = " ".join(capsys.readouterr().out.split())
        return said, pd.read_csv(out.with_suffix(".csv"))

    return asked


def test_noise_loss_that_converges_too_fast_at_four_hundredths(ask):
    """github.com/w86763777/pytorch-ddpm/issues/1: DDPM on CIFAR-10, 0.04 soon and for good.

    The answer: what floor and linear denoiser make of 0.04. It is no sign of a fault, and a linear
    denoiser comes close to it, so that what a network is for begins below.
    """
    said, table = ask(photographs(), "--loss", "0.04")
    least, linear = average(table).value, average(table, "linear").value
    assert 0 < least < 0.04 < 3 * linear
    assert f"{least / 0.04:.0%} is floor" in said
    assert ("the best linear denoiser has" in said) == (0.04 > linear)


def test_summed_noise_loss_of_six_is_three_hundredths_a_pixel(ask):
    """github.com/zoubohao/DenoisingDiffusionProbabilityModel-ddpm-/issues/5: 6.78 in epoch 4.

    The loss there is the sum over 80 images and 3·32·32 pixels, divided by 1,000.
    """
    images = photographs()
    pixels = images[0].numel()
    share = pixels / 3072  # the stand-in has fewer pixels
    summed, _ = ask(images, "--pixels", "sum", "--factor", "0.08", "--loss", f"{6.78 * share}")
    each, _ = ask(images, "--loss", f"{6.78 / 0.08 / 3072}")
    parts = [re.search(r"(\d+)% is floor", said)[1] for said in (summed, each)]
    assert parts[0] == parts[1]
    careless, _ = ask(images, "--loss", "6.78")
    assert "larger than that of answering the mean" in careless and "factor" in careless


def test_loss_of_v_is_higher_than_that_of_noise_as_it_must_be(ask):
    """github.com/huggingface/diffusers/issues/2519: 0.25 to 0.3 for ε, 0.8 for v."""
    _, noise = ask(photographs(), "--schedule", "vp-linear", "--target", "eps")
    _, image = ask(photographs(), "--schedule", "vp-linear", "--target", "x0")
    said, v = ask(photographs(), "--schedule", "vp-linear", "--target", "v", "--loss", "0.8")
    for column in ("floor", "linear"):  # the same denoiser has both losses together
        both = noise[column] + image[column]
        assert v[column].to_numpy() == pytest.approx(both.to_numpy(), rel=1e-4)
    assert average(v).value > 2 * average(noise).value
    assert "answering the mean: either" in said or "the best linear denoiser has" in said


def test_velocity_loss_around_a_quarter_shows_no_falling_trend(ask):
    """github.com/NVlabs/LongLive/issues/63: flow matching, 0.23, and no trend; it is said to be in
    order. Its floor is far from zero, and most of it is at high noise, where nothing can be won.
    """
    said, table = ask(photographs(), "--schedule", "flow", "--target", "flow", "--loss", "0.23")
    assert average(table).value > 0.05
    end = table[table["t"] > 0.9]
    assert (end["floor"] > 0.9 * end["linear"]).all()
    assert re.search(r"of the loss 0.23, \d+% is floor", said) or "below the floor" in said


def test_score_loss_that_oscillates_around_eight_has_learned_nothing(ask):
    """github.com/ZhengYinan-AIR/Diffusion-Planner/issues/55: the sum over eight normalised numbers
    stays at 8, which is the loss of a network that always says zero.
    """
    options = ["--target", "score", "--schedule", "vp-linear", "--weighting", "tau2"]
    options += ["--pixels", "sum", "--scale", "4"]
    said, table = ask(paths(), *options, "--loss", "8.02")
    assert table["ceiling"].to_numpy() == pytest.approx(8, rel=1e-4)
    assert "larger than that of answering the mean: either nothing has been learned" in said
