"""GitHub's workflows, issue forms and the pre-commit hooks say what GitHub and pre-commit read."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from book.tools import chapters
from book.tools.chapters import reach

ROOT = chapters.ROOT
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(set((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) - {
    GITHUB / "ISSUE_TEMPLATE/config.yml"
})  # fmt: skip
SCHEMAS = {
    "github-workflows": WORKFLOWS,
    "github-issue-forms": FORMS,
    "dependabot": [GITHUB / "dependabot.yml"],
}
by_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def load(path):
    return yaml.safe_load(path.read_text("utf-8").replace("\non:\n", "\n'on':\n"))


def steps(path):
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


def check(schema, *paths):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    return subprocess.run([*command, *map(str, paths)], capture_output=True, text=True)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_are_what_github_reads(schema):
    assert SCHEMAS[schema]
    done = check(schema, *SCHEMAS[schema])
    assert done.returncode == 0, done.stdout + done.stderr


def test_slip_in_a_workflow_is_found(tmp_path):
    path = tmp_path / "slip.yml"
    path.write_text(WORKFLOWS[0].read_text("utf-8").replace("runs-on", "run-on"))
    assert check("github-workflows", path).returncode == 1


@by_workflow
def test_workflow_calls_make_targets_that_exist(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    called = [step["run"] for step in steps(path) if "run" in step]
    made = [command.split()[1] for command in called if command.startswith("make ")]
    assert made and set(made) <= targets
    others = [command for command in called if not command.startswith("make ")]
    assert all(command.startswith("gh issue create") for command in others)


@by_workflow
def test_actions_are_pinned_by_commit_and_checkouts_keep_no_credentials(path):
    text = path.read_text("utf-8")
    for line in re.findall(r"uses: (.*)", text):
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@by_workflow
def test_permissions_are_few(path):
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    granted = {
        name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job
    }
    wanted = {"publish": {"pages": "write", "id-token": "write"}, "report": {"issues": "write"}}
    assert granted == {name: wanted[name] for name in granted}


def test_pull_requests_are_linted_and_tested_on_all_pythons_that_the_makefile_takes():
    workflow = load(GITHUB / "workflows/check.yml")
    assert "pull_request" in workflow["on"]
    job = workflow["jobs"]["check"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    taken = re.search(r"case \$\$found in (.*?)\)", makefile)[1].replace(".*", "").split("|")
    assert job["strategy"]["matrix"]["python"] == taken == ["3.11", "3.12", "3.13", "3.14"]
    assert {"make lint", "make test"} <= {step.get("run") for step in job["steps"]}


def test_site_is_looked_at_before_it_is_published_and_only_from_main():
    jobs = load(GITHUB / "workflows/book.yml")["jobs"]
    runs = [step.get("run") for step in jobs["build"]["steps"]]
    assert runs.index("make book") < runs.index("make test-site")
    assert "github.ref == 'refs/heads/main'" in jobs["publish"]["if"]
    assert jobs["publish"]["needs"] == "build"


def test_every_failure_of_the_weekly_run_opens_an_issue():
    jobs = load(GITHUB / "workflows/weekly.yml")["jobs"]
    assert set(jobs["report"]["needs"]) == set(jobs) - {"report"}
    assert jobs["report"]["if"].startswith("failure()")


def test_cache_of_executed_chapters_is_keyed_by_all_they_rest_on():
    keys = [
        step["with"]["key"]
        for path in WORKFLOWS
        for step in steps(path)
        if step.get("with", {}).get("path") == "_build/executed"
    ]
    assert len(keys) == 2
    data = [path for path in (ROOT / "book/data").rglob("*") if path.is_file()]
    files = {"requirements.txt"} | {path.relative_to(ROOT).as_posix() for path in data}
    for path in chapters.chapters():
        files.add(path.relative_to(ROOT).as_posix())
        for name in chapters.basis(path):
            file = reach.module_file(ROOT, name)
            if file or "/" in name:
                files.add(file.relative_to(ROOT).as_posix() if file else name)
    assert {"scorerep/model.py", "book/tools/moving_codes.py"} <= files
    for key in keys:
        assert files - hashed(key) == set()
        for pattern in patterns(key):  # of files that are gone, as book/tools/live.py
            assert hashed(f"hashFiles('{pattern}')"), pattern
        narrow = key.replace("'book/tools/*.py', ", "")
        assert {"book/tools/moving.py", "book/tools/moving_codes.py"} <= files - hashed(narrow)


def patterns(key):
    """The patterns of a key's ``hashFiles``."""
    return re.findall("'([^']+)'", re.search(r"hashFiles\((.*?)\)", key)[1])


def hashed(key):
    """The files of this repository whose change changes a cache's key."""
    found = [
        path for pattern in patterns(key) for path in ROOT.glob(re.sub(r"\*\*$", "**/*", pattern))
    ]
    return {path.relative_to(ROOT).as_posix() for path in found if path.is_file()}


def test_newer_packages_of_npm_are_looked_for_wherever_there_is_a_lock_file():
    (entry,) = (
        entry
        for entry in load(GITHUB / "dependabot.yml")["updates"]
        if entry["package-ecosystem"] == "npm"
    )
    locks = [
        path for folder in ("book", "tests") for path in (ROOT / folder).rglob("package-lock.json")
    ]
    folders = {f"/{path.parent.relative_to(ROOT).as_posix()}" for path in locks
               if "node_modules" not in path.parts}  # fmt: skip
    assert set(entry["directories"]) == folders and len(folders) == len(entry["directories"])


def test_there_is_a_form_for_the_text_and_one_for_a_chapter_that_does_not_run():
    assert {path.stem for path in FORMS} == {"error-in-the-text", "chapter-does-not-run"}


def test_hooks_are_local_and_run_what_the_environment_has():
    config = load(ROOT / ".pre-commit-config.yaml")
    pins = (ROOT / "requirements.txt").read_text("utf-8")
    hooks = {hook["id"]: hook for repo in config["repos"] for hook in repo["hooks"]}
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    ruff = {"ruff-check", "ruff-format", "chapters"}
    assert set(hooks) == ruff | {"codespell", "notebooks", "readme"}
    for hook in hooks.values():
        assert {"name", "entry", "language"} <= set(hook)
        program, *arguments = hook["entry"].split()
        program = program.removeprefix(".venv/bin/")
        assert program in ("python", "make") or f"\n{program}==" in pins
        if "-m" in arguments:
            module = arguments[arguments.index("-m") + 1]
            assert reach.module_file(ROOT, module)


# What is installed


@pytest.mark.parametrize(("lock", "least"), [("requirements", 150), ("requirements-extra", 80)])
def test_every_package_is_locked_with_its_hashes_and_names_no_host(lock, least):
    text = (ROOT / f"{lock}.txt").read_text("utf-8")
    heads = re.findall(r"^[a-z].*", text, re.MULTILINE)
    assert len(heads) > least
    assert all(re.match(r"[\w.-]+==[\w.+!]+ (?:; .* )?\\$", head) for head in heads)
    for block in re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in block, block.splitlines()[0]
    assert not re.search(r"https?://|file:|--index|--find-links|\.whl", text)


def test_lock_holds_what_is_asked_for_directly():
    names = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    asked = re.findall(r"^([\w.-]+)", (ROOT / "requirements.in").read_text(), re.MULTILINE)
    assert {name.lower().replace("_", "-") for name in asked} <= names


def test_what_some_targets_need_is_locked_too_and_goes_with_the_rest():
    pins = {
        lock: dict(re.findall(r"^([\w.-]+)==([^ ;]+)", (ROOT / lock).read_text(), re.MULTILINE))
        for lock in ("requirements.txt", "requirements-extra.txt")
    }
    first, extra = pins.values()
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert set(re.search("^EXTRA := (.*)", makefile, re.MULTILINE)[1].split()) <= set(extra)
    shared = set(first) & set(extra)
    assert "ipykernel" in shared and "torch" not in extra
    assert {name: extra[name] for name in shared} == {name: first[name] for name in shared}


def test_no_target_installs_a_package_without_its_hash():
    lines = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ").splitlines()
    installs = [line for line in lines if re.search(r"(pip|PIP\)) install", line)]
    free = [line for line in installs if "--require-hashes" not in line]
    # uv itself for `make lock`, PyTorch's own index (CONTRIBUTING says so), and this package.
    assert len(installs) > len(free) == 3
    assert [re.search(r"quiet uv$|TORCH_CPU|--editable \.", line)[0] for line in free] == [
        "TORCH_CPU", "--editable .", "quiet uv",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("version", "goal", "said"),
    [
        ("3.10.4", "book", "With another Python: make book PYTHON=python3.13"),
        ("3.15.0", "env", "Python 3.11 to 3.14 is needed, and .* is 3.15.0"),
    ],
)
def test_another_python_is_told_what_it_is_and_what_to_type(tmp_path, version, goal, said):
    python = tmp_path / "python3"
    python.write_text(f"#!/bin/sh\necho {version}\n")
    python.chmod(0o755)
    command = ["make", goal, f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and re.search(said, done.stdout)
    assert not (tmp_path / "venv").exists()


def test_pytorch_without_cuda_is_the_lock_without_its_gpu_packages(tmp_path):
    makefile = (ROOT / "Makefile").read_text("utf-8")
    program = re.search(r"@awk '(/\^\[a-z\]/ { out.*?)' requirements.txt", makefile)[1]
    done = subprocess.run(
        ["awk", program, "requirements.txt"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lock = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    left = set(re.findall(r"^([\w.-]+)==", done.stdout, re.MULTILINE))
    gone = lock - left
    assert {"torch", "torchvision", "triton", "nvidia-cublas"} <= gone
    assert all(re.match(r"torch$|torchvision$|triton$|nvidia-|cuda-", name) for name in gone)
    assert done.stdout.count("--hash") < (ROOT / "requirements.txt").read_text().count("--hash")


@pytest.mark.parametrize("torch", ["", "cpu"])
def test_ci_runs_every_stage_and_takes_pytorch_without_cuda_if_asked(tmp_path, torch):
    programs, script = tmp_path / "bin", tmp_path / "shared/clone/.ci/run"
    programs.mkdir()
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / ".ci/run", script)
    for name in ("make", "chromium", "node", "npm"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name}: $*"\n')
        (programs / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "TORCH": torch}
    done = subprocess.run([script], env=environment, capture_output=True, text=True, check=True)
    made = re.findall("^make: (.*)$", done.stdout, re.MULTILINE)
    assert made == [
        f"env TORCH={torch}", "lint", "book", "test", "test-colab", "test-site", "pdf test-pdf",
    ]  # fmt: skip
    assert re.search(r"all stages: \d+ s\n$", done.stdout)
    command = ["make", "--dry-run", *made[0].split(), f"VENV={tmp_path / 'venv'}"]
    plan = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert ("download.pytorch.org/whl/cpu" in plan) == (torch == "cpu")
    assert "--require-hashes" in plan


# What is said to contributors


def test_steps_that_contributing_names_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE))
    assert {"chapter", "page", "ready", "golden", "notebooks"} <= named <= targets
    for name in re.findall(r"`((?:book|tests|scorerep|\.github)/[\w./-]*)`", text):
        assert "NAME" in name or (ROOT / name).exists(), name
