"""Each folder of weights has a README in step with its card; what it says is true of the data."""

import inspect
import json
import re
import shutil

import pandas as pd
import pytest

from book.tools import chapters, readme, weight_pages
from book.tools.assets import explorer
from scorerep.checkpoint import read_card
from scorerep.checkpoint.page import KNOWN, card_text
from scorerep.data import load_data
from scorerep.quality import train_classifier
from scorerep.runs.commands import parse
from scorerep.runs.fit import load_experiment

WEIGHTS = chapters.ROOT / "book/checkpoints"
TABLES = {
    name: pd.read_csv(chapters.ROOT / f"book/results/{name}.csv") for name in weight_pages.SCORES
}


def page(folder, **changed) -> str:
    return weight_pages.page(folder, {}, TABLES | changed)


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book with one folder of weights, whose page is in step."""
    (tmp_path / "book").mkdir()
    shutil.copytree(chapters.ROOT / "book/results", tmp_path / "book/results")
    shutil.copytree(WEIGHTS / "fig2ab", tmp_path / "book/checkpoints/fig2ab")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/one\n")
    (tmp_path / "book/one.md").write_text("# One\n")
    (tmp_path / "README.md").write_text(
        "".join(f"<!-- {n} -->\n\n<!-- end of {n} -->\n" for n in ("found", "chapters", "tables"))
    )
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    for path, text in weight_pages.pages().items():
        path.write_text(text, "utf-8")
    return tmp_path / "book"


def change(folder, **entries):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | entries))


def test_every_folder_of_weights_has_its_page_in_step():
    stale = weight_pages.out_of_step()
    assert not stale, weight_pages.said(stale)


def test_new_weights_other_scores_and_another_card_are_noticed_by_name(book):
    assert weight_pages.out_of_step() == []
    shutil.copytree(WEIGHTS / "fig10", book / "checkpoints/fig10")
    (book / "checkpoints/fig10/README.md").unlink()
    assert weight_pages.out_of_step() == ["fig10"]
    table = pd.read_csv(book / "results/codes.csv")
    table.loc[(table.run == "fig2ab") & (table.seed == 0), "knn"] = 0.123
    table.to_csv(book / "results/codes.csv", index=False)
    stale = weight_pages.out_of_step()
    assert stale == ["fig10", "fig2ab"]
    said = weight_pages.said(stale)
    assert said == "README.md of fig10, fig2ab in book/checkpoints: python -m book.tools.readme"
    (module,) = re.findall(r"python -m ([\w.]+)", said)
    assert readme.__name__ == module


def test_weights_that_nothing_makes_are_an_error_that_says_where_to_name_it(book):
    card = read_card(book / "checkpoints/fig2ab")
    change(book / "checkpoints/fig2ab", experiment=card["experiment"] | {"draws_per_image": 7})
    with pytest.raises(chapters.ChapterError, match="fig2ab: no run .* say in STUDIES of book/too"):
        weight_pages.out_of_step()


def test_weights_of_the_queue_name_its_run(book):
    """As the queue ships them: the settings of the plan, in the folder that the plan names."""
    from scorerep.checkpoint import to_json

    run = weight_pages.plan.PLAN.named("fig2cd-long")
    folder = book / "checkpoints/fig2cd"
    shutil.copytree(book / "checkpoints/fig2ab", folder)
    change(folder, experiment=to_json(run.experiment), iterations_done=40_000, encoder_phase=None)
    text = page(folder)
    assert "scorerep queue work --only fig2cd-long\n" in text
    assert "40,000 iterations of 32 images (85.3 epochs)" in text
    assert parse(["queue", "work", "--only", "fig2cd-long"]).only == run.name


def test_scores_are_of_these_very_weights_or_none(book):
    folder = book / "checkpoints/fig2ab"
    whole = page(folder)
    for table in set(weight_pages.SCORES) - {"cifar_quality"}:
        assert f"[{table}](" in whole
    row = TABLES["codes"].query("code == 'trained' and run == 'fig2ab' and seed == 0").iloc[0]
    assert f"| kNN accuracy | {row.knn:.3f} | " in whole
    assert "PCA of as many numbers" in whole and "held-out digits" in whole
    change(folder, iterations_done=9_999)
    other = page(folder)
    assert "[codes](" in other and "Of samples" not in other and "of the queue" not in other
    first = read_card(folder)["encoder_phase"] | {"iterations_done": 3_499}
    change(folder, encoder_phase=first)
    assert "kNN accuracy" not in page(folder) and "None in [codes](" in page(folder)


def test_samples_of_photographs_stand_between_those_of_their_classes(book):
    folder = book / "checkpoints/fig6"
    shutil.copytree(WEIGHTS / "fig6", folder)
    rows = TABLES["cifar_quality"].set_index(["run", "code"])
    text = page(folder)
    for place in (("fig6", "trained"), ("cifar10-3", "held-out images")):
        assert f"| {rows.frechet[place]:.1f} ({rows.frechet_low[place]:.1f} to " in text
    assert f"{rows.frechet['cifar10', 'Gaussian fit']:.1f}" not in text
    change(folder, iterations_done=9_999)
    assert "Of samples" not in page(folder)


def test_epochs_are_those_of_the_table_of_runs():
    row = TABLES["runs"].query("run == 'fig2ab' and iterations == 10_000").iloc[0]
    text = page(WEIGHTS / "fig2ab")
    assert f"10,000 iterations of 32 images ({row.epochs:.1f} epochs)" in text
    assert "3,500 iterations of 64 images (3.7 epochs), 2,608 seconds" in text


def test_what_cards_leave_out_is_filled_with_what_is_so():
    mnist = load_data("mnist", "train")
    assert KNOWN["mnist"][2] == len(mnist)
    for name, (*_, more) in weight_pages.STUDIES.items():
        card = read_card(WEIGHTS / name) if (WEIGHTS / name).is_dir() else {}
        if "data_checksum" in card and more.get("data") == "mnist":
            assert card["data_checksum"] == mnist.checksum()
        if "batch_size" in more:
            usual = inspect.signature(train_classifier).parameters["batch_size"].default
            assert more["batch_size"] == usual
    said = " ".join((chapters.ROOT / "book/data/README.md").read_text("utf-8").split())
    assert "commonly passed on under [CC BY-SA 3.0]" in said and "the page names no licence" in said
    parts = [load_data("cifar10-part", "train").classes, read_card(WEIGHTS / "fig2cd")]
    assert KNOWN["cifar10"][1] * len(parts[0]) == KNOWN["cifar10"][2]
    assert set(parts[1]["experiment"]["classes"]) <= set(parts[0])


def test_commands_train_what_the_cards_say():
    for name in ("fig2ab", "fig6"):
        (command,) = re.findall(r"^scorerep (train .*)$", page(WEIGHTS / name), re.MULTILINE)
        assert parse(command.split()).experiment == load_experiment(WEIGHTS / name)
    (command,) = re.findall(r"^scorerep (train .*)$", page(WEIGHTS / "fig11-2"), re.MULTILINE)
    first = parse(command.split()).experiment.first_phase()
    assert first.optimisation == load_experiment(WEIGHTS / "fig11-2").optimisation
    for path, text in weight_pages.pages().items():
        for study in re.findall(r"python -m book\.studies\.(\w+)", text):
            assert (chapters.ROOT / f"book/studies/{study}.py").exists(), path
        for link in re.findall(r"\]\((\.\./[^)#]*)\)", text):
            assert (path.parent / link).exists(), link


def test_code_of_every_page_loads_its_weights(monkeypatch):
    monkeypatch.chdir(chapters.ROOT)
    for path, text in weight_pages.pages().items():
        made: dict = {}
        exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], made)
        assert made["model"].state_dict(), path


@pytest.mark.parametrize(
    ("card", "said", "unsaid"),
    [
        ({}, "MIT licence", "## Data"),
        ({"seed": 3, "iterations_done": 5}, "- seed 3\n- 5 iterations\n", "epochs"),
        ({"experiment": {"data": "/home/me/birds"}}, "`birds`, a set of one's own", "/home"),
        ({"data": "mnist", "iterations_done": 3_000, "batch_size": 20}, "(1.0 epochs)", "seed"),
        ({"data": "digits", "iterations_done": 9, "batch_size": 2}, "of 2 images", "epochs"),
    ],
)
def test_card_is_told_as_far_as_it_says_anything(card, said, unsaid):
    assert said in card_text(card) and unsaid not in card_text(card)


def test_page_is_no_part_of_what_chapters_and_explorer_rest_on(book, monkeypatch):
    from book.tools.chapters import reach

    header = {"weights": ["fig2ab"], "tables": []}
    monkeypatch.setattr(explorer, "WEIGHTS", book / "checkpoints/fig2ab")
    before = reach.checksums(book.parent, "1", header), explorer.key()
    assert len(before[0]) == 2
    (book / "checkpoints/fig2ab/README.md").write_text("other")
    assert (reach.checksums(book.parent, "1", header), explorer.key()) == before
    change(book / "checkpoints/fig2ab", more=1)
    after = reach.checksums(book.parent, "1", header), explorer.key()
    assert after[0] != before[0] and after[1] != before[1]
