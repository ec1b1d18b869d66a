"""The command ``scorerep floor``: losses as people report them, and what it answers."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from scorerep.data import load_data
from scorerep.runs.cli import main
from scorerep.runs.losses import answer, at_times, binned, grid, read_loss
from scorerep.worlds.floor import average, floor, floor_of, mmse
from scorerep.worlds.schedule import Schedule

SMALL = ["--limit", "128", "--draws", "20", "--levels", "8"]


def digits(schedule: Schedule, target: str, **options) -> pd.DataFrame:
    images = load_data("digits").images[:128]
    return floor(images, schedule, target, draws=30, generator=torch.Generator().manual_seed(0),
                 **options)  # fmt: skip


@pytest.fixture
def ask(tmp_path, capsys):
    """The command's answer as one line, with the table it wrote."""

    def asked(*arguments: str, name: str = "digits"):
        out = tmp_path / "floor.png"
        main(["floor", name, *SMALL, "--out", str(out), *arguments])
        said = " ".join(capsys.readouterr().out.split())
        return said, pd.read_csv(out.with_suffix(".csv"))

    return asked


def test_command_writes_table_and_picture_whole(ask, tmp_path):
    said, table = ask("--loss", "0.05")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["floor.csv", "floor.png"]
    assert (tmp_path / "floor.png").stat().st_size > 10_000
    assert list(table) == [
        "t", "sigma", "probability", "floor", "standard_error", "linear", "ceiling", "memorised",
        "floor_32", "floor_8", "limit",
    ]  # fmt: skip
    assert len(table) == 8 and table["probability"].sum() == pytest.approx(1)
    assert "digits: 128 images, target eps" in said
    assert "with 32 of the images the floor is" in said
    least = average(table).value
    assert f"of the loss 0.05, {least / 0.05:.0%} is floor" in said
    assert average(table, "floor_8").value < average(table, "floor_32").value < least


# What people complain of, asked of 128 digits.


def test_noise_loss_stuck_at_three_hundredths_is_partly_floor(ask):
    said, table = ask("--target", "eps", "--schedule", "vp-linear", "--loss", "0.03")
    part = int(re.search(r"of the loss 0.03, (\d+)% is floor", said)[1])
    assert part == round(100 * average(table).value / 0.03) and 20 < part < 80
    assert "best linear denoiser has" not in said  # it is better than that already


def test_score_loss_that_is_large_at_small_t_and_nothing_at_large_t_is_as_it_must_be(ask, tmp_path):
    schedule = Schedule("ve")
    t = torch.linspace(0.45, 0.99, 12)
    images = load_data("digits").images[:128]
    least = floor(images, schedule, "score", t, 200, torch.Generator().manual_seed(1))
    assert least["floor"].max() > 1000 * least["floor"].iloc[-1]
    pd.DataFrame({"t": t, "loss": 1.2 * least["floor"] + 0.01}).to_csv(
        tmp_path / "loss.csv", index=False
    )
    said, table = ask("--target", "score", "--schedule", "ve", "--loss", str(tmp_path / "loss.csv"))
    where = [float(number) for number in re.findall(r"% at t = ([\d.]+)", said)]
    assert len(where) == 3 and max(where) < 0.8  # what can be won is not at the high levels
    np.testing.assert_allclose(table["loss"], 1.2 * least["floor"] + 0.01, rtol=1e-4)


def test_velocity_loss_of_flow_matching_does_not_go_to_zero(ask):
    said, table = ask("--target", "flow", "--schedule", "flow", "--loss", "0.5")
    assert average(table).value > 0.15
    assert re.search(r"at most 0\.\d+ could still be won", said)


def test_loss_in_the_thousands_is_another_normalisation(ask):
    said, table = ask("--target", "eps", "--loss", "5")
    assert "larger than that of answering the mean" in said and "pixels" in said
    said, summed = ask("--target", "eps", "--loss", "5", "--pixels", "sum", "--factor", "0.5")
    assert "larger than" not in said
    for column in ("floor", "standard_error", "linear", "ceiling"):
        np.testing.assert_allclose(summed[column], 32 * table[column], rtol=1e-4)


def test_loss_that_stays_at_one_has_learned_nothing_and_a_linear_denoiser_is_better(ask):
    said, table = ask("--target", "eps", "--loss", "0.99")
    rest = 0.99 - average(table, "linear").value
    assert f"at least {rest:.3g} can be won" in said


def test_loss_below_the_floor_is_told_to_be_another_loss(ask):
    said, _ = ask("--target", "v", "--schedule", "vp-cosine", "--loss", "0.01")
    assert "loss 0.01 is below the floor" in said and "a label, a code" in said


def test_pixels_in_zero_to_one_have_another_floor(ask):
    _, table = ask("--target", "x0", "--schedule", "ve")
    _, scaled = ask("--target", "x0", "--schedule", "ve", "--scale", "0.5")
    np.testing.assert_allclose(scaled["ceiling"], table["ceiling"] / 4, rtol=1e-4)
    high = table["sigma"] > 10  # there nothing but the variance is left
    np.testing.assert_allclose(scaled["floor"][high], table["floor"][high] / 4, rtol=0.05)


# A loss from a file


def test_loss_of_a_file_is_split_by_where_it_exceeds_the_floor():
    schedule = Schedule("vp-linear")
    table = digits(schedule, "eps")
    excess = np.zeros(len(table))
    excess[[3, 9]] = 0.03, 0.01
    table["loss"] = table["floor"] + excess
    said = " ".join(answer(table, average(table, "loss").value))
    assert f"75% at t = {table['t'][3]:.3g} (sigma {table['sigma'][3]:.3g})" in said
    assert f"25% at t = {table['t'][9]:.3g}" in said
    assert f"at most {0.04 / 16:.4g} could still be won" in said
    assert f"1 of 16 rows, t = {table['t'][9]:.3g}" in said  # elsewhere linear leaves more


def test_times_and_levels_in_a_file_are_the_same(tmp_path):
    schedule = Schedule("vp-cosine")
    t = schedule.spread(5)
    files = {"t": t, "sigma": schedule.level(t)}
    tables = []
    for name, values in files.items():
        pd.DataFrame({name: values, "loss": range(5)})[::-1].to_csv(tmp_path / name, index=False)
        tables.append(at_times(read_loss(str(tmp_path / name)), schedule))
    pd.testing.assert_frame_equal(*tables, rtol=1e-6)
    assert tables[0]["loss"].tolist() == [0, 1, 2, 3, 4]


def test_rows_of_one_time_are_averaged_and_many_rows_are_shown_as_few():
    loss = pd.DataFrame({"t": [0.5, 0.25, 0.5], "loss": [1.0, 5.0, 3.0]})
    assert at_times(loss, Schedule()).to_numpy().tolist() == [[0.25, 5.0], [0.5, 2.0]]
    table = digits(Schedule(), "eps")
    few = binned(table, 4)
    assert len(few) == 4
    assert few["probability"].sum() == pytest.approx(1)
    for column in ("floor", "linear", "ceiling"):
        assert average(few, column).value == pytest.approx(average(table, column).value)
    assert few["memorised"].tolist() == [True, False, False, False]


def test_floor_between_levels_is_close_to_the_floor_at_them():
    """A file of a thousand times needs no thousand computations."""
    schedule, images = Schedule("vp-linear"), load_data("digits").images[:128]
    t = schedule.spread(40)[8:]  # where it is not memorised
    exact = floor(images, schedule, "x0", t, 400, torch.Generator().manual_seed(0))
    assert len(grid(schedule.level(t), 50)) == 32
    found = mmse(images, grid(schedule.level(t), 16), 400, torch.Generator().manual_seed(1))
    near = floor_of(found, schedule, t, "x0")
    assert len(found) == 16
    np.testing.assert_allclose(near["floor"], exact["floor"], rtol=0.15)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            "t,error\n0.5,1\n",
            "must have rows and the columns loss and either t or sigma",
        ),
        ("loss\n1\n", "either t or sigma, got loss"),
        ("t,sigma,loss\n0.5,1,1\n", "either t or sigma"),
        ("t,loss\n", "must have rows"),
        ("t,loss\n0.5,high\n", "must hold finite numbers"),
        ("t,loss\n0,1\n", "t be positive"),
        ("sigma,loss\n-1,1\n", "sigma be positive"),
        ("t,loss\n0.5,1\n500,1\n", r"t must lie in \(0, 1\], got 500: divide a step"),
        ("", "is not a CSV file"),
    ],
)
def test_bad_file_is_named(content, sentence, tmp_path, capsys):
    (tmp_path / "loss.csv").write_text(content)
    with pytest.raises(SystemExit) as stop:
        main(["floor", "digits", "--loss", str(tmp_path / "loss.csv"), *SMALL,
              "--out", str(tmp_path / "floor.png")])  # fmt: skip
    assert stop.value.code == 2
    assert re.search(sentence, capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["loss.csv"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--loss", "nowhere.csv"], "loss must be a positive number or a CSV file, got 'nowhere"),
        (["--loss", "-1"], "loss must be a positive number or a CSV file, got '-1'"),
        (["--loss", "nan"], "loss must be a positive number"),
        (["--factor", "0"], "factor must be a finite number larger than 0"),
        (["--levels", "1"], "levels must lie in 2..1000, got 1"),
        (["--limit", "3"], "limit must lie in 32..1442, got 3"),
        (["--seed", "-1"], "seed must lie in 0"),
        (["--device", "abacus"], "device must be a name like"),
        (["--device", "mps"], "device must be cpu, or a GPU"),
        (["--out", "floor.table"], "out must end in .png"),
        (["--schedule", "edm", "--density", "uniform"], "density must be log-normal for edm"),
    ],
)
def test_bad_option_is_named(arguments, sentence, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["floor", "digits", *SMALL, "--out", str(tmp_path / "floor.png"), *arguments])
    assert stop.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_help_is_for_a_newcomer(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["floor", "--help"])
    assert ended.value.code == 0
    said = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    for words in (
        "Why does my loss stop falling?", "Start with: floor digits --loss 0.05",
        "What your network predicts", "0.5 if they lie in [0, 1]", "a mean or a sum",
    ):  # fmt: skip
        assert words in said, words
