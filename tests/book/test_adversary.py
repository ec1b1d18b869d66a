"""The weighting that plays against the model finds the largest loss, or the largest without C."""

import pytest
import torch

from book.studies.adversary import Adversary

LOSS = torch.tensor([1.0, 0.9, 0.5, 0.1])
CONSTANT = torch.tensor([0.98, 0.85, 0.2, 0.09])


def play(adversary: Adversary, steps: int = 300, noise: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        t = adversary.times(40, generator)
        errors = LOSS[adversary._bin(t)] + noise * torch.randn(40, generator=generator)
        adversary.ascend(t, errors)
    return adversary.masses


def test_mass_goes_where_the_loss_is_largest():
    masses = play(Adversary(torch.zeros(4), step=0.05, floor=0.1))
    assert int(masses.argmax()) == 0 and float(masses[0]) > float(masses[1]) > float(masses[2])
    assert float(masses.sum()) == pytest.approx(1) and float(masses.min()) >= 0.1 / 4


def test_with_the_constant_subtracted_it_goes_where_the_error_is():
    masses = play(Adversary(CONSTANT, step=0.05), noise=0.2)
    assert int(masses.argmax()) == 2 and float(masses[2]) > 0.5


def test_pace_does_not_depend_on_the_scale_of_the_loss():
    plain, large = Adversary(torch.zeros(4)), Adversary(torch.zeros(4))
    t = plain.times(40)
    plain.ascend(t, LOSS[plain._bin(t)])
    large.ascend(t, 100 * LOSS[plain._bin(t)])
    torch.testing.assert_close(plain.masses, large.masses)


def test_weights_have_mean_one_and_times_fill_every_bin_alike():
    adversary = Adversary(torch.zeros(4), step=0.05, t_min=0.5)
    play(adversary)
    t = adversary.times(400, torch.Generator().manual_seed(1))
    assert 0.5 <= float(t.min()) < float(t.max()) <= 1
    assert float(adversary.weight(t).mean()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(adversary._bin(t).bincount(), torch.full((4,), 100))


def test_step_of_zero_keeps_the_weighting_even():
    assert torch.equal(play(Adversary(torch.zeros(4), step=0.0)), torch.full((4,), 0.25))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="constant must be"):
        Adversary(torch.zeros(1))
    with pytest.raises(ValueError, match="floor"):
        Adversary(torch.zeros(3), floor=1.5)
    with pytest.raises(ValueError, match="multiple of the 4 bins"):
        Adversary(torch.zeros(4)).times(10)
