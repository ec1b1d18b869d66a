"""The weighting that plays against the model finds the largest loss, or the largest without C."""

from types import SimpleNamespace

import pytest
import torch

from book.studies.adversary import Adversary, Game
from scorerep.sde import VESDE

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
    with pytest.raises(ValueError, match="equal parts for 2 adversaries"):
        Game(adversaries=(Adversary(LOSS), Adversary(LOSS))).draw(torch.zeros(41, 2), 0)


def test_in_a_game_each_adversary_sees_its_own_part_of_the_batch():
    sde, x_0 = VESDE(), torch.zeros(80, 2)
    game = Game(adversaries=tuple(Adversary(torch.zeros(4), step=0.05) for _ in range(2)))
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        draws = game.draw(x_0, 0, generator)
        # Of the second network the largest loss is at high noise, of the first at low.
        bins = game.adversaries[0]._bin(draws.t)
        wanted = torch.cat([LOSS[bins[:40]], LOSS.flip(0)[bins[40:]]])
        score = (wanted.sqrt()[:, None] - draws.noise) / sde.tau(draws.t)[:, None]
        model = SimpleNamespace(sde=sde, score=lambda x_t, t, z, score=score: score)
        losses = game(model, x_0, draws)
        assert float(losses.total) == pytest.approx(float((draws.weight * wanted).mean()), rel=1e-3)
    assert [int(a.masses.argmax()) for a in game.adversaries] == [0, 3]
    assert float(losses.total) > 1.3 * float(LOSS.mean())  # more than without a weighting
