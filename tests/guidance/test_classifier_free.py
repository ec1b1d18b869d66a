"""Guidance by one network: weights 0 and 1 are its two scores, others lie on their line."""

import pytest
import torch

from scorerep.guidance import ScoreDifference, free_guided_score, guided_score
from scorerep.model import ModelConfig, ScoreModel


def model_of(**changes) -> ScoreModel:
    torch.manual_seed(0)
    model = ScoreModel(ModelConfig(**({"image_shape": (2,), "channels": (16, 16)} | changes)))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return model.eval()


KINDS = pytest.mark.parametrize(
    ("changes", "z"),
    [
        ({"latent": 2}, torch.tensor([[0.3, -1.0], [2.0, 0.1], [0.0, 0.0]])),
        ({"latent": 0, "num_classes": 3}, torch.tensor([0, 2, 1])),
        ({"latent": 0, "num_classes": 3}, torch.tensor(1)),
    ],
    ids=["code", "labels", "label"],
)
X = torch.tensor([[0.5, 1.0], [-2.0, 0.3], [0.0, -1.0]])


@KINDS
@pytest.mark.parametrize("t", [0.3, torch.tensor([0.2, 0.5, 0.9])])
def test_weights_0_and_1_are_the_unconditional_and_the_conditional_score(changes, z, t):
    model = model_of(code_dropout=0.2, **changes)
    none, told = model.score(X, t), model.score(X, t, z)
    assert torch.equal(free_guided_score(model, z, 0)(X, t), none)
    assert torch.equal(free_guided_score(model, z, 1)(X, t), told)
    assert not torch.allclose(none, told)
    beyond = free_guided_score(model, z, 2.5)(X, t)
    torch.testing.assert_close(beyond, none + 2.5 * (told - none), rtol=1e-4, atol=1e-4)


def test_left_out_items_are_those_without_a_code():
    model, z = model_of(code_dropout=0.2, latent=2), torch.randn(3, 2)
    left_out = torch.tensor([True, False, True])
    mixed = model.score(X, 0.4, z, left_out)
    expected = torch.where(left_out[:, None], model.score(X, 0.4), model.score(X, 0.4, z))
    torch.testing.assert_close(mixed, expected)
    # A code of zeros is a code like any other.
    assert not torch.allclose(model.score(X, 0.4), model.score(X, 0.4, torch.zeros(3, 2)))
    with pytest.raises(ValueError, match="left_out must be"):
        model.score(X, 0.4, z, torch.tensor([1, 0, 1]))


def test_one_network_guides_as_the_difference_of_two_does():
    """A network that has both scores, split in two, is the guide of two networks."""
    both = model_of(code_dropout=0.2, latent=0, num_classes=3)

    class Half(ScoreModel):
        def score(self, x_t, t, y=None):
            return both.score(x_t, t, y)

    parts = []
    for classes in (3, 0):
        half = Half(ModelConfig(image_shape=(2,), channels=(8,), latent=0, num_classes=classes))
        parts.append(half.eval())
    y = torch.tensor([0, 2, 1])
    two = guided_score(parts[1], ScoreDifference(*parts), y, 3.0)(X, 0.5)
    torch.testing.assert_close(free_guided_score(both, y, 3.0)(X, 0.5), two)


def test_weights_in_a_folder_keep_the_way_without_a_code(tmp_path):
    model, z = model_of(code_dropout=0.2, latent=2), torch.randn(3, 2)
    model.save_pretrained(tmp_path)
    again = ScoreModel.from_pretrained(tmp_path)
    assert again.config.code_dropout == 0.2
    torch.testing.assert_close(again.score(X, 0.4), model.score(X, 0.4))
    torch.testing.assert_close(again.score(X, 0.4, z), model.score(X, 0.4, z))


def test_networks_that_never_went_without_their_code_are_refused():
    with pytest.raises(ValueError, match="code_dropout above 0"):
        free_guided_score(model_of(latent=2), torch.zeros(3, 2))
    model = model_of(code_dropout=0.5, latent=2)
    with pytest.raises(ValueError, match="weight must be a finite number"):
        free_guided_score(model, torch.zeros(3, 2), torch.inf)
    with pytest.raises(ValueError, match="z must be given"):
        free_guided_score(model, None)
