"""The programs behind the tables: their threads, their help, and what tells their rows apart."""

import ast
import re
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from book.studies import (
    burden,
    cifar_quality,
    codes,
    curves,
    diversity,
    features,
    floors,
    guidance,
    mutual_information,
    pairs,
    recipe_quality,
    representations,
    samplers,
    time_codes,
    using_codes,
)
from book.tools import chapters
from book.tools.chapters import reach
from scorerep.model import ScoreModel
from scorerep.runs.fit import load_experiment
from scorerep.runs.tables import has_row, merge_rows, rows_of, write_table

PROGRAMS = [
    file
    for file in sorted((chapters.ROOT / "book/studies").glob("*.py"))
    if "__main__" in file.read_text("utf-8")
]
FRAGMENT = re.compile(
    r"(Of|For|With|From|By|Also|Or|Its|Their|Theirs|Whose|Instead|All of|One run|One each)\b"
)


@pytest.mark.parametrize("file", PROGRAMS, ids=lambda file: file.stem)
def test_study_says_how_many_threads_it_takes(file):
    calls = [ast.unparse(n) for n in ast.walk(reach.parsed(file)) if isinstance(n, ast.Call)]
    asked = "Arguments.threads" in help_texts(file.read_text("utf-8"))  # it is an option
    assert asked or any(call.startswith("torch.set_num_threads(") for call in calls)


def help_texts(source: str) -> dict[str, str]:
    """Field → the words behind it, of the dataclasses of a program."""
    found = {}
    for kind in ast.parse(source).body:
        if isinstance(kind, ast.ClassDef):
            for field, words in zip(kind.body, kind.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(words, ast.Expr):
                    found[f"{kind.name}.{field.target.id}"] = ast.literal_eval(words.value)
    return found


def unreadable(source: str) -> list[str]:
    """Options whose help does not name what it is about, or is no sentence by its end."""
    return [
        name
        for name, words in help_texts(source).items()
        if FRAGMENT.match(words) or not words.endswith(".") or not words[0].isupper()
    ]


@pytest.mark.parametrize("file", PROGRAMS, ids=lambda file: file.stem)
def test_help_of_every_option_can_be_read_alone(file):
    source = file.read_text("utf-8")
    assert help_texts(source)
    assert unreadable(source) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [("Of x_t.", True), ("Their noise level.", True), ("draws of x_t.", True), ("Draws", True),
     ("Draws of x_t for each constant.", False)],
)  # fmt: skip
def test_fragment_is_told(words, told):
    source = f'class Arguments:\n    draws: int = 1\n    """{words}"""'
    assert bool(unreadable(source)) == told


# A row says how many images, pairs or points it is of

KEYS = {
    **dict.fromkeys(("pairs", "pairs_partners"), (pairs.KEY, ["pairs", "seed"])),
    "features": (features.KEY, ["images"]),
    "mutual_information": (mutual_information.KEY, ["points"]),
    "mutual_spectra": (mutual_information.OF_SPECTRA, ["points"]),
    "diversity": (diversity.KEY, ["codes", "samples", "steps", "noise_seed"]),
    "diversity_codes": ([*diversity.KEY, "code"], ["codes", "samples", "steps", "noise_seed"]),
    "code_priors": (using_codes.KEYS["code_priors"], ["samples", "codes", "seed"]),
    "code_swaps": (using_codes.KEYS["code_swaps"], ["pairs", "steps", "seed"]),
    "code_edits": (using_codes.KEYS["code_edits"], ["images", "codes", "steps", "seed"]),
    "code_dropout": (using_codes.KEYS["code_dropout"], ["samples", "iterations", "draws_seed"]),
    "floors": (floors.KEY, ["draws", "seed"]),
    "codes": (codes.KEY, ["images"]),
    "curves": (curves.KEY, ["images"]),
    **dict.fromkeys(("samplers", "quality"), (samplers.KEY, ["samples", "seed"])),
    "time_codes": (time_codes.KEY, ["images"]),
    "guidance": (guidance.KEY, ["samples"]),
    "burden": (burden.KEY, list(burden.COUNTS)),
    "recipe_quality": (recipe_quality.KEY, ["samples", "images"]),
}
RESULTS = chapters.ROOT / "book/results"


@pytest.mark.parametrize(
    ("name", "key", "count"),
    [(name, key, count) for name, (key, counts) in KEYS.items() for count in counts],
    ids=lambda value: "" if isinstance(value, list) else value,
)
def test_another_count_neither_skips_nor_replaces_a_shipped_row(name, key, count, tmp_path):
    out, dtype = tmp_path / "table.csv", {"setting": str}
    old = pd.read_csv(RESULTS / f"{name}.csv", dtype=dtype)
    old.to_csv(out, index=False)
    new = old.iloc[0].copy()
    asked = {column: new[column] for column in key if pd.notna(new[column])}
    new[count] = old[count].max() + 1
    assert has_row(out, asked, dtype=dtype)
    assert not has_row(out, asked | {count: new[count]}, dtype=dtype)
    table = merge_rows(pd.DataFrame([new]).astype(old.dtypes), out, key, dtype=dtype)
    kept = table[table[count] < new[count]].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, old.sort_values(key, ignore_index=True))
    assert len(table) == len(old) + 1


def test_rows_are_found_by_the_columns_that_tell_them_apart(tmp_path):
    out = tmp_path / "table.csv"
    assert not has_row(out, {"t": 0.3})
    write_table(pd.DataFrame({"t": [0.1 + 0.2, 0.4], "model": "a", "n": [1, 2]}), out)
    assert has_row(out, {"t": 0.3, "n": 1}) and has_row(out, {"t": 3 * 0.1})
    assert not has_row(out, {"t": 0.3, "n": 2}) and not has_row(out, {"t": 0.301})
    assert rows_of(out, {"model": "a"}).n.tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"table.csv has no column 'seed', which tells its rows"):
        has_row(out, {"t": 0.3, "seed": 0})
    before = out.read_text()
    with pytest.raises(ValueError, match="has no column 'seed'"):
        merge_rows(pd.DataFrame({"t": [0.3], "seed": [0]}), out, ["t", "seed"])
    assert out.read_text() == before


def shipped(name: str, column: str) -> set:
    return set(pd.read_csv(RESULTS / f"{name}.csv")[column])


def test_defaults_are_the_counts_of_the_shipped_tables():
    priors, swaps, edits = (using_codes.Arguments((k,)).of(k) for k in ("prior", "swap", "edit"))
    assert shipped("code_priors", "codes") == {priors.codes}
    assert shipped("code_priors", "samples") == {priors.samples}
    assert shipped("code_swaps", "steps") == {swaps.steps}
    assert shipped("code_swaps", "pairs") == {swaps.pairs}
    for column in ("images", "codes", "steps", "seed"):
        assert shipped("code_edits", column) == {getattr(edits, column)}
    assert using_codes.Arguments(("edit",), codes=7, steps=3).of("edit").codes == 7
    assert shipped("code_dropout", "iterations") == {priors.iterations}
    assert shipped("samplers", "samples") == {samplers.SAMPLES["compare"]}
    assert shipped("quality", "samples") == {samplers.SAMPLES["quality"]}
    for column in ("codes", "samples"):
        assert shipped("diversity", column) == {getattr(diversity.Arguments(()), column)}
    assert shipped("pairs", "pairs") == {pairs.Arguments(()).pairs}
    assert shipped("features", "images") == {features.Arguments().images}
    assert shipped("codes", "images") == {codes.Arguments(()).images}
    assert shipped("curves", "images") == {curves.Arguments(()).images}
    assert shipped("time_codes", "images") == {time_codes.Probe().most}
    assert shipped("guidance", "samples") == {guidance.Arguments("samples").samples}
    table = pd.read_csv(RESULTS / "floors.csv")
    assert table.groupby("data").draws.agg(set).to_dict() == {
        name: {draws} for name, draws in floors.DRAWS.items()
    }
    table = pd.read_csv(RESULTS / "mutual_information.csv")
    points = mutual_information.Arguments().points
    more = table.estimator == "more points"
    assert set(table[~more].points) == {points} and set(table[more].points) == {4 * points}


# The same of the programs, with what is slow left out

DIGITS = SimpleNamespace(name="fig3", data="digits", classes=(), seed=0, model=SimpleNamespace(
    latent=2))  # fmt: skip


@pytest.fixture
def quick(monkeypatch):
    """Sets functions of a study."""

    def of(study, **functions):
        for name, function in functions.items():
            monkeypatch.setattr(study, name, function)

    monkeypatch.setattr(ScoreModel, "from_pretrained", classmethod(lambda *_: None))
    return of


def test_pairs_of_another_number_have_rows_of_their_own(quick, tmp_path):
    quick(
        pairs, load_experiment=lambda _: DIGITS,
        one_step_errors=lambda model, p, *_: {k: torch.rand(len(p.x_0)) for k in ("own", "other")},
    )  # fmt: skip
    arguments = pairs.Arguments((tmp_path,), times=(0.5,), out=tmp_path / "table.csv")
    for n in (20, 30, 20):
        pairs.main(replace(arguments, pairs=n))
    assert pd.read_csv(arguments.out).pairs.tolist() == [20, 30]


def test_samples_of_photographs_are_judged_beside_their_own_classes_floor(quick, tmp_path):
    drawn, ends = [], []

    class FewSamples:
        """In the place of the judge, of which each set of classes has one."""

        def __init__(self, data, classes, classifier):
            self.name = f"{data}-{len(classes)}" if classes else data

        def samples(self, model, n):
            drawn.append((self.name, n))
            return {"samples": n, "frechet": 9.0, "sure": 0.5, "own_class": 0.4}

        def floor_and_ceiling(self, n):
            ends.append((self.name, n))
            about = {"run": self.name, "seed": 0, "iterations": 0, "frozen": 0, "samples": n}
            about |= {"frechet": 1.0, "sure": 0.8, "own_class": 0.7}
            return [about | {"code": code} for code in ("held-out images", "Gaussian fit")]

    quick(cifar_quality, Judge=FewSamples)
    arguments = cifar_quality.Arguments(out=tmp_path / "table.csv")
    for n in (20, 30, 20):
        cifar_quality.main(replace(arguments, samples=n))
    kinds = ["cifar10-3", "cifar10-3", "cifar10", "cifar10"]
    assert drawn == [(kind, n) for n in (20, 30) for kind in kinds]
    assert ends == [(kind, n) for n in (20, 30) for kind in kinds[::2]]
    table = pd.read_csv(arguments.out)
    assert table.groupby(["samples", "run"]).size().unstack().to_dict("records") == 2 * [
        {"cifar10": 2, "cifar10-3": 2, "fig2cd": 1, "fig6": 1, "fig8": 1, "fig9": 1}
    ]


def test_score_models_alone_are_trained_again_without_their_penalty():
    plain = representations.Arguments(
        ("mnist",), (16,), ("score, single t", "autoencoder"), seeds=(0,)
    )
    names = [run["learner"] for run in representations.runs(replace(plain, without_penalty=True))]
    assert names == ["score, single t", "autoencoder", "score, single t, no penalty"]
    assert len(representations.runs(plain)) == 2
    with_it, without = (
        representations.score_experiment(name, "mnist", 16, (16, 32)) for name in names[::2]
    )
    assert with_it.regulariser == "l1"
    assert without == replace(with_it, regulariser="none")


def test_features_of_another_number_of_images_are_computed(quick, tmp_path):
    calls = []

    def feature_table(model, split, times, *_, seed):
        calls.append((len(split.train), times[0], seed))
        return pd.DataFrame({"source": ["PCA"], "layer": "down", "t": times[0], "probe": 0.5})

    quick(
        features, load_classifier=lambda _: None, features=lambda *_: None,
        Split=lambda train, test, judged: SimpleNamespace(train=train),
        feature_table=feature_table,
        best=lambda _: dict.fromkeys(("layer", "probe", "control_source", "control")),
    )  # fmt: skip
    arguments = features.Arguments(times=(0.2, 0.6), seeds=(0,), out=tmp_path / "table.csv")
    for n in (5, 8, 5):
        features.work(replace(arguments, images=n))
    assert calls == [(5, 0.2, 0), (5, 0.6, 0), (8, 0.2, 0), (8, 0.6, 0)]
    assert sorted(pd.read_csv(arguments.out).images) == [5, 5, 8, 8]


def test_diversity_of_another_number_has_rows_of_its_own(quick, tmp_path):
    quick(
        diversity, load_experiment=lambda _: DIGITS, read_card=lambda _: {"iterations_done": 1},
        sampled=lambda _, test, a: torch.rand(a.codes, a.samples, 1, 2, 2),
    )  # fmt: skip
    arguments = diversity.Arguments((tmp_path,), codes=3, samples=4, out=tmp_path / "table.csv")
    for changed in ({}, {"codes": 2}, {"samples": 5}, {}):
        diversity.main(replace(arguments, **changed))
    table, each = (pd.read_csv(tmp_path / f"table{end}.csv") for end in ("", "_codes"))
    assert list(zip(table.codes, table.samples, strict=True)) == [(2, 4), (3, 4), (3, 5)]
    assert each.groupby(["codes", "samples"]).size().tolist() == [2, 3, 3]


def test_floors_of_other_draws_or_of_another_seed_are_computed(quick, tmp_path, monkeypatch):
    calls = []

    def growing(images, levels, draws, generator):
        calls.append((draws, generator.initial_seed()))
        return pd.DataFrame({"sigma": levels, "mmse": 0.1})

    quick(floors, growing=growing, SETS=("digits",))
    arguments = floors.Arguments(out=tmp_path / "table.csv")
    for draws, seed in ((8, 0), (8, 1), (8, 0), (9, 0)):
        monkeypatch.setitem(floors.DRAWS, "digits", draws)
        floors.main(replace(arguments, seed=seed))
    assert calls == [(8, 0), (8, 1), (9, 0)]
    assert len(pd.read_csv(arguments.out)) == 3 * len(floors.LEVELS)


class FewScores:
    """In the place of the scorer of codes."""

    def __init__(self, train, test, most):
        self.train = train.subset(min(most, len(train)))

    def model(self, model):
        return {"silhouette": 0.1, "knn": 0.5, "code_std": 1.0}

    pca = model


def test_codes_scored_on_another_number_of_images_have_rows_of_their_own(quick, tmp_path):
    known = load_experiment("book/checkpoints/fig2ab")
    quick(
        codes, load_experiment=lambda _: known, Scorer=FewScores,
        read_card=lambda _: {"iterations_done": 1, "seconds": 1},
    )  # fmt: skip
    arguments = codes.Arguments((tmp_path,), out=tmp_path / "table.csv")
    for n in (50, 60, 50):
        codes.main(replace(arguments, images=n))
    table = pd.read_csv(arguments.out)
    assert table[table.code == "trained"].images.tolist() == [50, 60] and len(table) == 6


def test_curve_of_another_number_of_images_has_rows_or_a_word(quick, tmp_path, capsys):
    quick(
        curves, fit=lambda *_, **__: None, read_card=lambda _: {"seconds": 1, "iterations_done": 9},
        Scorer=FewScores,
    )  # fmt: skip
    arguments = curves.Arguments(
        ("fig2ab",), stages=(4,), iterations=9, folder=tmp_path / "runs", out=tmp_path / "table.csv"
    )
    for n in (50, 60):
        curves.main(replace(arguments, images=n))
    table = pd.read_csv(arguments.out)
    assert list(zip(table.iterations, table.images)) == [(4, 50), (4, 60), (9, 50), (9, 60)]
    run = tmp_path / "runs/fig2ab-s0/encoder"
    run.mkdir(parents=True)
    (run / "card.json").write_text("{}")  # finished: it cannot go back
    capsys.readouterr()
    curves.main(replace(arguments, images=60))
    assert capsys.readouterr().out == ""
    curves.main(replace(arguments, images=70))
    assert "passed by 4 without a row of 70 images" in capsys.readouterr().out


def test_edits_of_other_counts_have_rows_of_their_own(tmp_path):
    arguments = using_codes.Arguments(("edit",), out=tmp_path)
    row = dict.fromkeys(("model", "attribute", "direction", "amount"), 1)
    for counts in ((12, 4_000, 12), (12, 12_000, 16), (12, 4_000, 12), (6, 4_000, 12)):
        about = dict(zip(("images", "codes", "steps"), counts, strict=True))
        using_codes.write(row | about | {"seed": 0}, "code_edits", arguments)
    assert len(pd.read_csv(tmp_path / "code_edits.csv")) == 3
