"""What the project promises of its own code."""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import scorerep
from book.tools.chapters import reach

FOLDER = Path(scorerep.__file__).parent
# What the package's docstring calls the parts of a score model, and some of what stands beside.
CORE = (
    "types/__init__ data/images data/batches data/sources data/download sde/linear sde/ve "
    "networks/layers networks/unet networks/encoder model times objective training/loop "
    "checkpoint/files checkpoint/cards checkpoint/weights checkpoint/state "
    "sampling/fields sampling/samplers sampling/walk likelihood"
).split()
BESIDE = "worlds/law worlds/mixture worlds/linear_gaussian worlds/empirical codes/scores".split()


def code_lines(path: Path) -> int:
    """Lines that hold code: neither blank, nor comment, nor docstring."""
    source = path.read_text("utf-8")
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, str)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
              tokenize.ENDMARKER}  # fmt: skip
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in layout
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(code - docstrings)


def test_core_has_at_most_2000_lines_of_code():
    assert 1000 < sum(code_lines(FOLDER / f"{name}.py") for name in CORE) <= 2000


@pytest.mark.parametrize("name", CORE + BESIDE)
def test_module_of_the_core_fits_on_a_few_screens(name):
    assert len((FOLDER / f"{name}.py").read_text("utf-8").splitlines()) <= 250


def test_first_level_has_at_most_20_names_and_the_docstring_says_what_each_is():
    names = [path.stem for path in FOLDER.iterdir() if not path.stem.startswith("__")]
    assert len(names) <= 20
    for name in names:
        assert re.search(rf"^ {{4}}{name}  ", scorerep.__doc__, re.M), name


def test_docstring_of_a_package_names_its_modules():
    for init in FOLDER.glob("*/__init__.py"):
        doc = ast.get_docstring(ast.parse(init.read_text("utf-8")))
        for path in init.parent.glob("[a-z]*.py"):
            assert path.stem in doc, path


def test_imports_of_the_library_run_in_no_circle():
    """Module → modules it imports, over the whole package; at import time, not within functions."""
    found = {}
    for path in FOLDER.rglob("*.py"):
        name = ".".join(path.relative_to(FOLDER.parent).with_suffix("").parts)
        body = ast.parse(path.read_text("utf-8")).body
        imports = [node for node in body if isinstance(node, ast.ImportFrom) and node.module]
        found[name] = {
            target
            for node in imports
            if node.module.startswith("scorerep")
            for alias in node.names
            for target in (f"{node.module}.{alias.name}", node.module, f"{node.module}.__init__")
        }
    order = TopologicalSorter({k: v & set(found) for k, v in found.items()})
    order.prepare()  # CycleError names the circle


def test_public_names_come_from_the_package_and_loading_it_alone_is_quick():
    code = "import sys, scorerep; print(any(m in sys.modules for m in ('torch', 'numpy')))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
    for name in scorerep.__all__:
        assert getattr(scorerep, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        scorerep.nothing  # noqa: B018


def test_weights_are_never_pickled():
    for path in FOLDER.rglob("*.py"):
        names = {n.attr for n in ast.walk(ast.parse(path.read_text("utf-8")))
                 if isinstance(n, ast.Attribute)}  # fmt: skip
        assert not names & {"load_state", "save_state"}, path.name
        assert "torch.load" not in path.read_text("utf-8"), path.name
        assert "torch.save" not in path.read_text("utf-8"), path.name


RUN_WITH_CHECKED_TYPES = """
from jaxtyping import install_import_hook

with install_import_hook("scorerep", "beartype.beartype"):
    import torch
    from scorerep import likelihood, sampling
    from scorerep.codes import scores
    from scorerep.data import load_data
    from scorerep.worlds.empirical import EmpiricalLaw
    from scorerep.worlds.mixture import labelled_quartet
    from scorerep.model import ModelConfig, ScoreModel
    from scorerep.objective import Objective
    from scorerep.sde import VESDE
    from scorerep.times import UniformTime
    from scorerep.training import Optimisation, training_loop

data = load_data("digits").subset(32)
model = ScoreModel(ModelConfig(image_shape=(1, 8, 8), channels=(8, 8), blocks=1))
budget = Optimisation(iterations=2, batch_size=16)
for state in training_loop(model, data, Objective(UniformTime()), budget):
    pass
codes = scores.encode_in_batches(state.averaged, data)
score = sampling.condition(state.averaged, codes)
x_0 = sampling.heun(score, model.sde, model.sde.prior_sample(32, 1, 8, 8), steps=3)
assert x_0.shape == (32, 1, 8, 8)
EmpiricalLaw(data.images, data.labels).guidance_energy(1.0, 8)
world, sde = labelled_quartet(), VESDE()
x, y = world.sample(8)
likelihood.log_likelihood(lambda x, t: world.score(x, sde.tau(t), y), sde, x, tolerance=1e-2)
try:
    model.score(x_0, torch.full((2, 2), 0.5))
except Exception as error:
    assert "TypeCheckError" in type(error).__name__, error
else:
    raise SystemExit("a wrong shape went unseen: the types are not checked")
"""


def test_declared_shapes_hold_at_run_time():
    result = subprocess.run(
        [sys.executable, "-c", RUN_WITH_CHECKED_TYPES],
        capture_output=True,
        text=True,
        cwd=FOLDER.parent,
    )
    assert result.returncode == 0, result.stderr[-3000:]


TRAIN_AND_SAMPLE_WITHOUT = '''
import sys

class Present:
    """All finders of modules, but for the blocked ones, which are nowhere."""

    finders, blocked = list(sys.meta_path), set(sys.argv[2].split(","))

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in self.blocked:
            specs = (finder.find_spec(name, path, target) for finder in self.finders)
            return next((spec for spec in specs if spec is not None), None)

    def find_distributions(self, *arguments):
        for finder in self.finders:
            yield from getattr(finder, "find_distributions", lambda *_: ())(*arguments)

sys.meta_path[:] = [Present()]

import torch
from scorerep import Experiment, ImageData, ScoreModel, fit, load_experiment, sampling
from dataclasses import replace
from scorerep.training import Optimisation

torch.manual_seed(0)
images = torch.randint(0, 256, (32, 1, 8, 8), dtype=torch.uint8)
data = ImageData(images, torch.arange(32) % 10, tuple("0123456789"), "digits", "train")
run = replace(Experiment(), optimisation=Optimisation(iterations=2, batch_size=8, warmup=1))
model = fit(run, data, sys.argv[1], progress=False)
again = ScoreModel.from_pretrained(sys.argv[1])
z = again.encode(data.batch(slice(2)))
x_1 = again.sde.prior_sample(2, 1, 8, 8)
x = sampling.heun(sampling.condition(again, z), again.sde, x_1, steps=3)
assert x.isfinite().all() and load_experiment(sys.argv[1]) == run
print("trained")
'''


def project() -> dict:
    return tomllib.loads((FOLDER.parent / "pyproject.toml").read_text("utf-8"))["project"]


def names(lines: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", line)[0] for line in lines}


IMPORTED = {  # what a package is imported as, where that is not its name
    "pillow": "PIL", "scikit-learn": "sklearn", "scikit-image": "skimage",
}  # fmt: skip


def test_training_and_sampling_need_the_core_dependencies_alone(tmp_path):
    extras = set().union(*map(names, project()["optional-dependencies"].values()))
    blocked = {IMPORTED.get(n, n) for n in extras - names(project()["dependencies"])} - {"scorerep"}
    blocked -= {"scipy"}  # which torchdiffeq brings
    assert {"tyro", "skimage", "sklearn", "pandas", "matplotlib", "torchmetrics"} <= blocked
    command = [sys.executable, "-c", TRAIN_AND_SAMPLE_WITHOUT, str(tmp_path)]
    done = subprocess.run(
        [*command, ",".join(sorted(blocked | {"beartype"}))],
        capture_output=True, text=True, cwd=FOLDER.parent,
    )  # fmt: skip
    assert done.stdout == "trained\n", done.stderr[-2000:]


def test_every_import_of_the_library_is_declared():
    found = set()
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    declared = names(project()["dependencies"])
    declared |= set().union(*map(names, project()["optional-dependencies"].values()))
    declared = {IMPORTED.get(name, name) for name in declared}
    # Brought by a notebook's kernel.
    brought = {"scorerep", "matplotlib_inline"}
    assert found - set(sys.stdlib_module_names) - brought <= declared
    assert declared - found == {"tensorboard"}  # the latter imported by torch


CHANGES = (FOLDER.parent / "CHANGELOG.md").read_text("utf-8")
NEWEST = re.split(r"^## ", CHANGES, flags=re.MULTILINE)[1]


def test_version_and_date_are_the_same_wherever_they_stand():
    version, date = re.match(r"([\d.]+), (\d{4}-\d\d-\d\d)\n", NEWEST).groups()
    cited = yaml.safe_load((FOLDER.parent / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text("utf-8"))["project"]
    assert version == scorerep.__version__ == project["version"] == cited["version"]
    assert date == str(cited["date-released"])


def test_newest_changes_name_what_is_there():
    assert re.findall(r"^### (\w+)$", NEWEST, re.MULTILINE) == ["Added", "Changed", "Fixed"]
    names = set(re.findall(r"`((?:scorerep|book)(?:\.\w+)+)`", NEWEST))
    assert len(names) > 20
    gone = []
    for name in names:
        inside, _, last = name.rpartition(".")
        if reach.module_file(FOLDER.parent, name) is None:
            file = reach.module_file(FOLDER.parent, inside)
            if file is None or not hasattr(import_module(inside), last):
                gone.append(name)
    assert gone == []
