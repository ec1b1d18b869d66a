"""A chapter's outputs go out of date with what the chapter reaches, and with nothing else."""

import re

import pytest

from book.tools import chapters
from book.tools.chapters import reach

FILES = {
    "scorerep/__init__.py": """
from importlib import import_module

__version__ = "0.1.0"
_HOME = {"Model": "model", "law": "worlds"}
__all__ = [*_HOME]

def __getattr__(name):
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
""",
    "scorerep/model.py": '"""A model."""\n\nfrom scorerep.layers import wide\n\nMODEL = 1  # one\n',
    "scorerep/layers.py": """
def wide():
    '''Wide.'''
    from .late import deep
    return deep
""",
    "scorerep/late.py": "deep = 3\n",
    "scorerep/worlds/__init__.py": "from scorerep.worlds.law import law\n",
    "scorerep/worlds/law.py": "law = 1\n",
    "scorerep/alone.py": "x = 1\n",
    "book/__init__.py": "",
    "book/studies/__init__.py": "",
    "book/studies/count.py": 'OUT = "book/results/codes.csv"\n',
    "book/results/codes.csv": "a\n1\n",
    "book/results/curves.csv": "a\n2\n",
    "book/checkpoints/fig3/card.json": "{}",
    "book/checkpoints/fig7/card.json": "{}",
}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def modules(root, source: str) -> set[str]:
    return {name.removeprefix("scorerep.") for name in reach.reached(root, source)} - {"scorerep"}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("import torch", set()),
        ("from scorerep import alone", {"alone"}),
        ("import scorerep.alone as other", {"alone"}),
        ("import scorerep\nscorerep.alone.x", {"alone"}),
        ("from scorerep.worlds import law", {"worlds", "worlds.law"}),
        # An import within a function, relative, of a module that another imports.
        ("from scorerep.model import MODEL", {"model", "layers", "late"}),
        # Names that the package imports when they are asked for.
        ("from scorerep import Model", {"model", "layers", "late"}),
        ("import scorerep as s\ns.Model()", {"model", "layers", "late"}),
        ("from scorerep import law", {"worlds", "worlds.law"}),
        ("import scorerep", set()),
        ("def later():\n    from scorerep import alone", {"alone"}),
    ],
)
def test_modules_are_reached_by_every_kind_of_import(root, source, wanted):
    assert modules(root, source) == wanted


def basis(root, source="from scorerep import Model\nopen('results/codes.csv')", **header):
    return reach.checksums(root, source, header)


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("scorerep/late.py", "3", "4", True),
        ("scorerep/model.py", "MODEL = 1", "MODEL = 2", True),
        ("scorerep/model.py", '"""A model."""', '"""The model, in other words."""', False),
        ("scorerep/model.py", "# one", "# uno", False),
        ("scorerep/layers.py", "    '''Wide.'''\n", "", False),
        ("scorerep/layers.py", "return deep", "return (\n        deep\n    )", False),
        ("scorerep/alone.py", "x = 1", "x = 2", False),  # not reached
        ("scorerep/__init__.py", '"law": "worlds"', '"law": "worlds", "x": "alone"', False),
        ("scorerep/__init__.py", '"Model": "model"', '"Model": "alone"', True),
        ("scorerep/__init__.py", "0.1.0", "0.2.0", False),
        ("scorerep/late.py", "deep = 3", "HOURS = 2\ndeep = 3", False),  # for the README
        ("book/results/codes.csv", "1", "2", True),
        ("book/results/curves.csv", "2", "3", False),
        ("book/checkpoints/fig3/card.json", "{}", "[]", False),
    ],
)
def test_basis_changes_with_what_is_reached_and_with_nothing_else(root, file, old, new, changes):
    before, text = basis(root), FILES[file]
    assert old in text
    (root / file).write_text(text.replace(old, new, 1) + "\n")
    assert (basis(root) != before) == changes


def read(root, source, **header) -> set[str]:
    return {name.split("/")[2] for name in basis(root, source, **header) if "/" in name}


ALL = {"codes.csv", "curves.csv"}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("1 + 1", set()),
        ("pd.read_csv('results/curves.csv')", {"curves.csv"}),
        ("pd.read_csv(f'results/{name}.csv')", ALL),  # whichever it is
        ("Path('results') / 'codes.csv'", ALL),
        ("Path('checkpoints/fig3')", {"fig3"}),
        ("Path('../book/checkpoints/fig3/card.json')", {"fig3"}),
        ("Path('checkpoints') / 'fig3'", {"fig3", "fig7"}),
        ("print('its results are good')", set()),
        ("from book.studies import count", {"codes.csv"}),
    ],
)
def test_without_a_header_files_are_those_that_the_cells_name(root, source, wanted):
    assert read(root, source) == wanted


def test_header_says_which_files_are_read(root):
    source = "Path('checkpoints') / 'fig3'; Path('results') / 'codes.csv'"
    assert read(root, source, weights=["fig3"], tables=["codes"]) == {"fig3", "codes.csv"}
    assert read(root, source, weights=[], tables=["codes.csv"]) == {"codes.csv"}
    assert read(root, source, weights=["fig3"]) == {"fig3", *ALL}
    with pytest.raises(ValueError, match="its header names fig9, not in checkpoints/"):
        read(root, source, weights=["fig3", "fig9"])


def test_only_the_direct_versions_of_the_requirements_count(root):
    lock = "# made\nnumpy==1 \\\n    --hash=sha256:12 \\\n    --hash=sha256:34\n    # via x\n"
    (root / "requirements.txt").write_text(lock + "Torch==2  # why\n\npluggy==3 ; a != 'b'\n")
    assert reach.direct_pins(root) == ["Torch==2", "numpy==1", "pluggy==3 ; a != 'b'"]
    (root / "requirements.in").write_text("# library\ntorch\nNumPy<3\n")
    assert reach.direct_pins(root) == ["Torch==2", "numpy==1"]


@pytest.mark.parametrize("path", chapters.chapters(), ids=lambda path: path.stem)
def test_real_chapter_reaches_modules_that_exist_and_reads_what_it_names(path):
    notebook = chapters.read(path)
    source = chapters.source_of(notebook)
    found = chapters.basis(path)
    for name in re.findall(r"^(?:from|import) (scorerep[\w.]*|book\.[\w.]+)", source, re.M):
        assert name in found, f"{path.name} imports {name}, which is no module"
    for name in re.findall(r"[\"'](?:results|checkpoints)/([\w.-]+?)[\"'/]", source):
        assert any(f"/{name}" in key for key in found), (
            f"{path.name} reads {name}, which its header does not name"
        )
