"""Weights by name, and a hub that is a folder here: nothing in this file uses the network."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub.errors import LocalEntryNotFoundError

from book.tools import chapters
from scorerep import citation
from scorerep.checkpoint import CheckpointError, hub, locate, read_card, shipped
from scorerep.checkpoint.page import card_text
from scorerep.codes.time import TimeCodeModel
from scorerep.model import ModelConfig, ScoreModel

SMALL = ModelConfig(image_shape=(1, 8, 8), channels=(4, 4), blocks=1, latent=2)


def new(kind=ScoreModel) -> ScoreModel:
    torch.manual_seed(0)
    return kind(SMALL).eval()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The hub's uploads and downloads, into and out of a folder."""
    root, asked = tmp_path / "hub", []

    def create_repo(self, repo_id, **options):
        asked.append(("create", options.get("private")))
        (root / repo_id).mkdir(parents=True, exist_ok=True)
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, *, repo_id, folder_path, **options):
        asked.append(("upload", options["commit_message"]))
        shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)
        return f"https://hub/{repo_id}/commit/1"

    def snapshot_download(repo_id, allow_patterns, **options):
        asked.append(("download", options))
        if not (root / repo_id).is_dir():
            raise LocalEntryNotFoundError(f"cannot find {repo_id}\nand more")
        place = tmp_path / "cache" / repo_id
        place.mkdir(parents=True, exist_ok=True)
        for name in allow_patterns:
            if (root / repo_id / name).exists():
                shutil.copy(root / repo_id / name, place)
        return str(place)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    return SimpleNamespace(root=root, asked=asked)


@pytest.mark.parametrize("kind", [ScoreModel, TimeCodeModel])
def test_what_was_pushed_comes_back_with_its_card(server, kind):
    model = new(kind)
    model.save_pretrained("runs/mine", seed=3, data_checksum="abc")
    read = kind.from_pretrained("runs/mine")
    assert read.push_to_hub("me/codes", private=True).startswith("https://hub/me/codes/")
    assert server.asked == [("create", True), ("upload", "Push model using huggingface_hub.")]
    files = sorted(path.name for path in (server.root / "me/codes").iterdir())
    assert files == ["README.md", "card.json", "config.json", "model.safetensors"]
    again = kind.from_pretrained("me/codes", revision="main")
    assert server.asked[-1] == ("download", {"revision": "main"})
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    assert again.card == {"seed": 3, "data_checksum": "abc"} and not again.training


def test_folder_has_weights_and_card_alone_until_it_is_pushed(server):
    new().save_pretrained("one")
    assert sorted(path.name for path in Path("one").iterdir()) == ["card.json", "model.safetensors"]
    assert ScoreModel.card == {} and new().card == {}


def test_page_of_a_repository_says_how_to_load_and_cite_it(server):
    new().push_to_hub("me/codes")
    page = (server.root / "me/codes/README.md").read_text("utf-8")
    front = yaml.safe_load(page.split("---")[1])
    assert front["library_name"] == "scorerep" and front["license"] == "mit"
    assert {"model_hub_mixin", "representation-learning"} <= set(front["tags"])
    assert 'ScoreModel.from_pretrained("me/codes")' in page and citation() in page
    assert "shape 1×8×8, with a code of 2 numbers" in page
    config = json.loads((server.root / "me/codes/config.json").read_text())
    assert config == read_card(server.root / "me/codes")["model"]
    assert "## Licence" in page and "## Data" not in page  # the card of new weights names none


def test_page_of_a_repository_tells_what_the_card_says(server):
    ScoreModel.from_pretrained("fig2ab").push_to_hub("me/codes")
    page = (server.root / "me/codes/README.md").read_text("utf-8")
    assert card_text(read_card(chapters.ROOT / "book/checkpoints/fig2ab")) in page
    assert "MNIST: the 60,000 images" in page and "3,500 iterations of 64 images" in page


def test_weights_that_are_not_the_card_s_are_refused(server):
    new().push_to_hub("me/codes")
    other = new()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    other.save_pretrained("other")
    shutil.copy("other/model.safetensors", server.root / "me/codes")
    with pytest.raises(CheckpointError, match="is damaged, or not the file that card.json"):
        ScoreModel.from_pretrained("me/codes")


def test_repository_without_safetensors_is_refused_and_nothing_is_unpickled(server):
    new().push_to_hub("me/codes")
    weights = server.root / "me/codes/model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(CheckpointError, match="no weights at .*model.safetensors"):
        ScoreModel.from_pretrained("me/codes")


def test_name_is_a_folder_first_then_a_shipped_run_then_a_repository(server):
    fig3 = locate("fig3")
    assert fig3 == chapters.ROOT / "book/checkpoints/fig3" and "fig3" in shipped()
    assert ScoreModel.from_pretrained("fig3").config.latent == 2
    new().save_pretrained("fig3")
    assert ScoreModel.from_pretrained("fig3").config.image_shape == (1, 8, 8)
    new().push_to_hub("me/codes")
    new().save_pretrained("me/codes", here=True)
    assert ScoreModel.from_pretrained("me/codes").card == {"here": True}
    assert "download" not in [kind for kind, _ in server.asked]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fig33", "no such folder; with the book come .*fig10, .*fig2ab"),
        ("them/nothing", r"the hub does not give a repository of this name \(cannot find them/"),
        ("runs/missing", "no checkpoint at runs/missing: runs/missing/card.json is missing"),
        ("a/b/c", "card.json is missing"),
        ("/nowhere", "card.json is missing"),
    ],
)
def test_unknown_name_is_refused_in_a_sentence(server, name, said):
    Path("runs").mkdir()  # a folder that is here is no user of the hub
    with pytest.raises(CheckpointError, match=said) as error:
        ScoreModel.from_pretrained(name)
    assert "\n" not in str(error.value)


def entries(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\s*(\w+)\s*=\s*\{+(.*?)\}+,?$", text, re.M))


def test_citation_is_the_readme_s_and_the_citation_file_s():
    paper, book = citation().split("\n\n")
    assert paper in (chapters.ROOT / "README.md").read_text("utf-8")
    known = yaml.safe_load((chapters.ROOT / "CITATION.cff").read_text("utf-8"))
    said = entries(book)
    assert said["title"] == known["title"] and said["version"] == known["version"]
    assert said["author"] == known["authors"][0]["name"]
    bib = (chapters.ROOT / "book/references.bib").read_text("utf-8")
    listed = entries(bib[bib.index("{abstreiter2021representation") :].split("\n}")[0])
    assert entries(paper)["title"].lower() == re.sub("[{}]", "", listed["title"]).lower()
