"""The runs of the paper's figures: what differs between budgets, and what does not."""

from dataclasses import replace

import pytest
import torch

from scorerep.data import load_data
from scorerep.model import ScoreModel
from scorerep.runs.fit import fit
from scorerep.runs.paper import BOOK, BUDGETS, PAPER, SMOKE, at_budget, muon_schedule

# What a budget may decide; the rest is the run itself.
SIZE = {"network", "channels", "encoder_channels", "blocks", "attention", "dropout",
        "parametrisation"}  # fmt: skip


def science(experiment):
    """What is left of an experiment without its budget."""
    model = {k: v for k, v in vars(experiment.model).items() if k not in SIZE}
    wanted = ("name", "data", "classes", "times", "single_t", "regulariser",
              "regulariser_weight", "seed")  # fmt: skip
    two_phases = (
        experiment.optimisation.frozen_iterations > 0 or experiment.encoder_phase is not None
    )
    return {name: getattr(experiment, name) for name in wanted} | model | {"frozen": two_phases}


@pytest.mark.parametrize("name", sorted(PAPER))
def test_budgets_differ_in_size_and_length_only(name):
    paper, book, smoke = (science(at_budget(name, budget)) for budget in BUDGETS)
    if name in ("fig2ab", "fig5", "fig11-4", "fig11-8", "fig11-16"):
        book["frozen"] = False  # the book's samples come from a second phase, with the same code
    assert paper == book == smoke
    assert paper["name"] == name


def test_paper_budget_is_appendix_a1():
    for name, run in PAPER.items():
        if run.data not in ("mnist", "cifar10"):
            continue
        deep = name in ("fig2cd", "fig6", "fig8", "fig9")
        width = {"mnist": (32, 64), "cifar10": (32, 64, 64, 64) if deep else (32, 32, 32)}
        iterations = {"mnist": 80_000, "cifar10": 300_000 if deep else 90_000}
        frozen = 80_000 if name in ("fig3", "fig7") else 0
        assert run.model.channels == width[run.data], name
        assert run.model.blocks == (8 if deep else 2), name
        assert run.model.attention == ((16,) if run.data == "cifar10" else ()), name
        assert run.model.dropout == 0.1 and run.model.parametrisation == "paper"
        assert (run.weighting, run.proposal, run.draws_per_image) == ("sigma2", "none", 1)
        schedule = run.optimisation
        assert (schedule.iterations, schedule.frozen_iterations) == (iterations[run.data], frozen)
        assert (schedule.batch_size, schedule.learning_rate, schedule.warmup) == (128, 2e-4, 5_000)
        assert run.regulariser_weight == {"l1": 1e-5, "kl": 1e-7, "none": 0}[run.regulariser]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", sorted(PAPER))
def test_every_run_builds_its_models_and_objective(name, budget):
    experiment = at_budget(name, budget)
    experiment.objective()
    for phase in {experiment, experiment.first_phase()}:
        assert sum(p.numel() for p in ScoreModel(phase.model).parameters()) > 1000


def test_reduced_runs_are_smaller_and_shorter():
    for name in BOOK:
        paper, book, smoke = (at_budget(name, budget) for budget in BUDGETS)
        lengths = [run.optimisation.total_iterations for run in (smoke, book, paper)]
        assert lengths == sorted(lengths) and len(set(lengths)) == 3, name


def test_unknown_names_are_errors():
    with pytest.raises(ValueError, match="no experiment 'fig12'; there are fig2ab, "):
        at_budget("fig12")
    with pytest.raises(ValueError, match="no budget 'huge'; there are paper, book, smoke"):
        at_budget("fig3", "huge")


@pytest.mark.parametrize("name", ["fig3", "fig7", "fig4-cifar", "fig6"])
def test_smoke_budget_runs_through_every_phase(name, tmp_path):
    experiment = at_budget(name, "smoke")
    source = "cifar10-part" if experiment.data == "cifar10" else experiment.data
    data = load_data(source, "train", experiment.classes or None, limit=200)
    model = fit(experiment, data, tmp_path, progress=False)
    x = data.batch(slice(0, 4))
    with torch.no_grad():
        z = model.encode(x)
        assert model.denoise(x, 0.5, z).isfinite().all()


def test_smoke_budget_is_one_value():
    assert at_budget("fig5", "smoke").model == replace(SMOKE.of(at_budget("fig5", "paper")).model)


def test_muon_schedule_is_the_recipe_that_was_measured():
    schedule = muon_schedule(1_000, frozen_iterations=500)
    assert (schedule.optimizer, schedule.muon_learning_rate, schedule.decay) == ("muon", 0.02, 0.4)
    assert (schedule.batch_size, schedule.learning_rate, schedule.warmup) == (32, 1e-3, 50)
    assert schedule.total_iterations == 1_500
    assert muon_schedule(10, decay=0.0).decay == 0
