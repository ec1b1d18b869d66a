"""The recipes of the library's page run as they stand, one after another."""

import re

import numpy as np
import pytest
import torch

from book.tools import chapters

RECIPES = re.findall(
    r"^```python\n(.*?)^```", (chapters.ROOT / "book/api.md").read_text("utf-8"), re.M | re.S
)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What the recipes leave behind, run from the repository's root but for what they write."""
    folder, found = tmp_path_factory.mktemp("recipes"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "book").symlink_to(chapters.ROOT / "book")
        for recipe in RECIPES:
            exec(compile(recipe, "book/api.md", "exec"), found)
    return found | {"folder": folder}


def test_there_is_a_recipe_for_each_thing_one_does_first():
    text = (chapters.ROOT / "book/api.md").read_text("utf-8")
    headed = re.findall(r"^## (.+)\n\n```python", text, re.MULTILINE)
    assert headed == [
        "Load a model", "Encode images", "Sample", "Follow a sampler", "Use a code",
        "Sample with and without the code", "Ask for the score", "Train on your own images",
        "Score codes", "Know how low a loss can go", "Estimate mutual information",
    ]  # fmt: skip
    assert len(RECIPES) == len(headed)


def test_recipes_give_codes_samples_and_scores(names):
    assert names["z"].shape == (4, 2)
    assert names["samples"].shape == names["direction"].shape == names["clean"].shape
    assert 0.1 < names["samples"].std() < names["noise"].std() / 10
    guess = names["x_t"] + names["direction"] * float(names["mine"].sde.tau(0.6)) ** 2
    assert torch.allclose(guess, names["clean"], atol=1e-3)


def test_recipe_estimates_the_information_that_its_comment_says(names):
    truth = 0.5 * np.log(1 + 1 / 0.5**2)
    assert round(truth, 2) == 0.8 and abs(names["found"].value - truth) < 0.3


def test_recipe_finds_a_floor_below_the_best_linear_denoiser(names):
    least = names["least"]
    assert (0 <= least.floor).all()
    assert (least.floor <= least.linear + 4 * least.standard_error).all()
    value, error = names["average"](least)
    assert 0 < error < value / 4 and value < names["average"](least, "linear").value / 10


def test_recipe_trains_a_model_that_is_saved_and_scored(names):
    assert names["state"].step == 100
    saved = names["ScoreModel"].from_pretrained(names["folder"] / "runs/mine")
    again = names["encode_in_batches"](saved, names["test"])
    assert torch.allclose(again, names["codes"][1], atol=1e-5)
