"""GitHub's workflows, issue forms and the pre-commit hooks say what GitHub and pre-commit read."""

import re
from importlib.util import find_spec

import pytest
import yaml

from book.tools import chapters

ROOT = chapters.ROOT
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted(set((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")) - {
    ROOT / ".github/ISSUE_TEMPLATE/config.yml"
})  # fmt: skip
by_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
EVENTS = {"push", "pull_request", "schedule", "workflow_dispatch"}
TOP = {"name", "on", "permissions", "concurrency", "env", "defaults", "jobs"}
NEEDED = {"runs-on", "steps", "timeout-minutes"}
RESTS_ON = (
    "book/*.md",
    "scorerep/**",
    "book/checkpoints/**",
    "book/results/**",
    "requirements.txt",
)
JOB = {
    "name", "needs", "if", "permissions", "environment", "concurrency", "runs-on", "env",
    "strategy", "timeout-minutes", "steps",
}  # fmt: skip
STEP = {"id", "name", "if", "uses", "with", "run", "env", "shell", "working-directory"}
SCOPES = {"contents", "pages", "id-token"}
CONTEXTS = {"github", "matrix", "steps", "hashFiles", "runner", "needs"}


class NoDuplicates(yaml.SafeLoader):
    """YAML 1.1 but for two things: ``on`` is a word, and a key stands once in a mapping."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:bool"]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice: {keys}"
        return super().construct_mapping(node, deep)


def load(path):
    return yaml.load(path.read_text("utf-8"), NoDuplicates)


def check(workflow: dict) -> list[str]:
    """What is wrong with a workflow, a sentence each."""
    wrong = [f"unknown key {key}" for key in set(workflow) - TOP]
    events = workflow["on"]
    wrong += [f"unknown event {event}" for event in set(events) - EVENTS]
    for schedule in (events.get("schedule") or []) if isinstance(events, dict) else []:
        if not re.fullmatch(r"(\S+ ){4}\S+", schedule["cron"]):
            wrong.append(f"cron {schedule['cron']!r} has not five fields")
    for name, job in workflow["jobs"].items():
        wrong += [f"{name}: unknown key {key}" for key in set(job) - JOB]
        wrong += [f"{name}: needs {key}" for key in NEEDED - set(job)]
        if (need := job.get("needs")) and need not in workflow["jobs"]:
            wrong.append(f"{name}: no job {need}")
        for granted in (workflow.get("permissions", {}), job.get("permissions", {})):
            wrong += [f"{name}: permission {key}" for key in set(granted) - SCOPES]
        for step in job.get("steps", []):
            wrong += [f"{name}: {problem}" for problem in check_step(step, job)]
    return wrong


def check_step(step: dict, job: dict) -> list[str]:
    wrong = [f"unknown key {key}" for key in set(step) - STEP]
    if ("uses" in step) == ("run" in step):
        wrong.append(f"a step needs one of uses and run: {step}")
    if "uses" in step and not re.fullmatch(r"[\w.-]+(/[\w.-]+)+@v\d+", step["uses"]):
        wrong.append(f"not an action with a version: {step['uses']}")
    if "run" in step and not re.fullmatch(r"make [\w-]+( \w+=\S+)*", step["run"]):
        wrong.append(f"not a make target: {step['run']}")
    text = yaml.safe_dump(step)
    if text.count("${{") != len(re.findall(r"\$\{\{ [^{}]+ \}\}", text)):
        wrong.append(f"an expression is not closed: {text}")
    for expression in re.findall(r"\$\{\{ (.+?) \}\}", text):
        if (root := re.match(r"\w+", expression)[0]) not in CONTEXTS:
            wrong.append(f"nothing is called {root}")
        if root == "matrix" and expression.split(".")[1] not in job["strategy"]["matrix"]:
            wrong.append(f"the matrix has no {expression}")
    return wrong


@by_workflow
def test_workflow_is_well_formed(path):
    assert check(load(path)) == []


@by_workflow
def test_workflow_calls_make_targets_that_exist(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    called = re.findall(r"run: make ([\w-]+)", path.read_text("utf-8"))
    assert called and set(called) <= targets


def test_pull_requests_are_linted_and_tested_on_the_oldest_and_newest_python():
    workflow = load(ROOT / ".github/workflows/check.yml")
    assert "pull_request" in workflow["on"]
    job = workflow["jobs"]["check"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    assert {"make lint", "make test"} <= {step.get("run") for step in job["steps"]}


def test_cache_of_executed_chapters_is_keyed_by_all_they_rest_on():
    keys = [
        step["with"]["key"]
        for path in WORKFLOWS
        for job in load(path)["jobs"].values()
        for step in job["steps"]
        if step.get("with", {}).get("path") == "_build/executed"
    ]
    assert len(keys) == 2
    for key in keys:
        for part in (
            "book/*.md",
            "scorerep/**",
            "book/checkpoints/**",
            "book/results/**",
            "requirements.txt",
        ):
            assert part in key


def test_only_main_is_published():
    job = load(ROOT / ".github/workflows/book.yml")["jobs"]["publish"]
    assert "github.ref == 'refs/heads/main'" in job["if"] and job["needs"] == "build"
    assert job["permissions"] == {"pages": "write", "id-token": "write"}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("runs-on", "run-on", "unknown key run-on"),
        ("make lint", "pip install x", "not a make target"),
        ("matrix.python }", "matrix.version }", "matrix has no"),
        ("actions/checkout@v4", "actions/checkout", "not an action"),
        ("}}", "}", "not closed"),
        ("pull_request", "pull_requests", "unknown event"),
    ],
)
def test_slip_in_a_workflow_is_found(old, new, problem):
    text = (ROOT / ".github/workflows/check.yml").read_text("utf-8")
    assert old in text
    found = check(yaml.load(text.replace(old, new), NoDuplicates))
    assert any(problem in line for line in found), found


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_form_is_one_that_github_shows(path):
    form = load(path)
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    for field in form["body"]:
        assert field["type"] in {"markdown", "input", "textarea", "dropdown", "checkboxes"}
        assert field["attributes"].get("label") or field["type"] == "markdown"
        assert field["type"] != "dropdown" or field["attributes"]["options"]


def test_there_is_a_form_for_the_text_and_one_for_a_chapter_that_does_not_run():
    assert {path.stem for path in FORMS} == {"error-in-the-text", "chapter-does-not-run"}


def test_hooks_are_local_and_run_what_the_environment_has():
    config = load(ROOT / ".pre-commit-config.yaml")
    pins = (ROOT / "requirements.txt").read_text("utf-8")
    hooks = {hook["id"]: hook for repo in config["repos"] for hook in repo["hooks"]}
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    assert set(hooks) == {"ruff-check", "ruff-format", "codespell", "notebooks"}
    for hook in hooks.values():
        assert {"name", "entry", "language"} <= set(hook)
        program = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert program == "python" or f"\n{program}==" in pins
    assert find_spec(hooks["notebooks"]["entry"].split()[2]) is not None
