"""Features of a score network beside controls of equal size, and the command for them."""

import pandas as pd
import pytest
import torch

from scorerep.codes.alignment import cknna
from scorerep.codes.features import SOURCES, Split, best, feature_table, initial
from scorerep.codes.scores import knn_accuracy, linear_probe, pca_codes
from scorerep.codes.time import features_at
from scorerep.data import load_data
from scorerep.model import ModelConfig, ScoreModel
from scorerep.runs.cli import main
from scorerep.runs.commands.features import grid

CONFIG = ModelConfig(image_shape=(1, 8, 8), channels=(4, 8), blocks=1, latent=0, dropout=0.0)
LAYERS = ["down 8", "down 4", "middle", "up 4", "up 8"]


def stirred() -> ScoreModel:
    torch.manual_seed(5)
    model = ScoreModel(CONFIG).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape))
    return model


@pytest.fixture(scope="module")
def split():
    generator = torch.Generator().manual_seed(0)
    parts = [load_data("digits", s).subset(120, generator) for s in ("train", "test")]
    return Split(*parts, parts[1].floats().flatten(1))


@pytest.fixture(scope="module")
def table(split):
    return feature_table(stirred(), split, (0.3, 0.6), seed=1)


def test_every_layer_and_level_has_its_controls_of_equal_size(table):
    assert len(table) == 2 * 5 * 4 and set(table["source"]) == set(SOURCES)
    assert list(dict.fromkeys(table["layer"])) == LAYERS
    sizes = table.pivot_table(index="layer", columns="source", values="numbers")
    assert (sizes["trained"] == sizes["untrained"]).all() and (
        sizes["trained"] == sizes["PCA"]
    ).all()
    assert (sizes["pixels"] == 64).all()
    assert table["probe"].between(0, 1).all() and table["cknna"].between(-1, 1).all()
    assert (grid(table, "knn").index == LAYERS).all()


def test_a_cell_is_the_scores_of_its_features(table, split):
    found = [
        features_at(stirred(), data, 0.6, True, 2, seed)["up 4"]
        for seed, data in ((2, split.train), (3, split.test))
    ]
    row = table.query("source == 'trained' and layer == 'up 4' and t == 0.6").iloc[0]
    labels = split.train.labels, split.test.labels
    assert row["probe"] == pytest.approx(
        linear_probe(found[0], labels[0], found[1], labels[1]), abs=0.01
    )
    assert row["knn"] == pytest.approx(
        knn_accuracy(found[0], labels[0], found[1], labels[1]), abs=0.01
    )
    assert row["cknna"] == pytest.approx(cknna(found[1], split.reference), abs=1e-4)


def test_controls_are_shown_the_images_that_the_network_is_shown(split):
    clean = feature_table(stirred(), split, (0.3,), noisy=False)
    row = clean.query("source == 'PCA' and layer == 'down 8'").iloc[0]
    codes = pca_codes(split.train, split.test, 16)
    expected = linear_probe(codes[0], split.train.labels, codes[1], split.test.labels)
    assert row["probe"] == pytest.approx(expected, abs=0.02)
    pixels = clean.query("source == 'pixels'").iloc[0]
    assert pixels["cknna"] == pytest.approx(1, abs=1e-5)  # the reference here is the pixels


def test_a_network_that_has_learned_nothing_gains_nothing(split):
    before = torch.get_rng_state()
    model = initial(stirred(), seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    table = feature_table(model, split, (0.4,), seed=7)
    own, control = (table[table["source"] == s] for s in ("trained", "untrained"))
    for score in ("probe", "knn", "cknna"):
        assert (own[score].to_numpy() == control[score].to_numpy()).all()
        row = best(table, score)
        assert row["control"] >= row[score]


def test_best_cell_is_told_with_its_own_controls():
    rows = [
        ("trained", "a", 0.1, 0.7), ("PCA", "a", 0.1, 0.6), ("pixels", "a", 0.1, 0.65),
        ("trained", "b", 0.1, 0.5), ("PCA", "b", 0.1, 0.9), ("pixels", "b", 0.1, 0.2),
    ]  # fmt: skip
    row = best(pd.DataFrame(rows, columns=["source", "layer", "t", "knn"]), "knn")
    assert (row["layer"], row["control"], row["control_source"]) == ("a", 0.65, "pixels")
    with pytest.raises(ValueError, match="score must be one of probe, knn, cknna"):
        best(pd.DataFrame(), "loss")


def test_what_has_no_features_is_refused(split):
    with pytest.raises(ValueError, match="at least one noise level"):
        feature_table(stirred(), split, ())
    coded = ScoreModel(ModelConfig(image_shape=(1, 8, 8), channels=(4, 8), blocks=1, latent=2))
    with pytest.raises(ValueError, match="must be unconditional for its features"):
        feature_table(coded, split, (0.3,))
    with pytest.raises(ValueError, match="reference must be of the 120 test images, got 3"):
        Split(split.train, split.test, split.reference[:3])


def test_command_prints_the_table_and_writes_it_with_a_picture(tmp_path, capsys):
    stirred().save_pretrained(tmp_path / "run")
    out = tmp_path / "features.png"
    main([
        "features", "digits", str(tmp_path / "run"), "--levels", "0.3", "0.6", "--images", "100",
        "--steps", "20", "--out", str(out),
    ])  # fmt: skip
    said = capsys.readouterr().out
    assert "100 images to fit on, 100 to score on, input noisy" in said
    assert "supervised network: trained here, accuracy" in said
    for words in ("linear probe:", "kNN accuracy:", "CKNNA:", "the best control there is"):
        assert words in said
    table = pd.read_csv(out.with_suffix(".csv"))
    assert len(table) == 40 and out.stat().st_size > 10_000
    assert f"{best(table, 'knn')['knn']:.3f}" in said


def test_command_refuses_a_run_that_is_not_there(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["features", "digits", "nowhere", "--out", str(tmp_path / "a.png")])
    assert stopped.value.code == 2
    assert "no checkpoint at nowhere: there is no such folder" in capsys.readouterr().err
