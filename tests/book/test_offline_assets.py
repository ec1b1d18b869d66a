"""Scripts of the site come from npm by lock files, and a build without npm goes on."""

import json
import subprocess
from pathlib import Path

import pytest

from book.tools.assets import npm
from book.tools.assets import offline as offline_assets

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted(
    path
    for folder in ("book", "tests")
    for path in (ROOT / folder).rglob("package-lock.json")
    if "node_modules" not in path.parts
)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.parent.name)
def test_lock_file_names_checksums_and_no_registry(lock):
    packages = json.loads(lock.read_text("utf-8"))["packages"]
    assert not [name for name, entry in packages.items() if "resolved" in entry]
    assert not [name for name, entry in packages.items() if name and "integrity" not in entry]


@pytest.fixture
def nothing_gathered(tmp_path, monkeypatch):
    monkeypatch.setattr(offline_assets, "WEB", tmp_path)
    monkeypatch.setattr(offline_assets, "STATIC", tmp_path / "static")


def test_without_npm_the_build_goes_on_and_says_so(nothing_gathered, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert not offline_assets.gather()
    assert "npm is not installed" in capsys.readouterr().out
    assert not offline_assets.STATIC.exists()


def test_failing_npm_is_reported(nothing_gathered, tmp_path, monkeypatch, capsys):
    script = tmp_path / "npm"
    script.write_text("#!/bin/sh\necho 'npm error network down' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert not offline_assets.gather()
    assert "network down" in capsys.readouterr().out


def test_what_npm_fetches_and_how_long_is_said_before_it_begins(
    nothing_gathered, monkeypatch, capsys
):
    said = []

    def run(command, **options):
        said.append(capsys.readouterr().out)
        return subprocess.CompletedProcess(command, 1, "", "npm error network down")

    monkeypatch.setattr(npm.shutil, "which", lambda name: name)
    monkeypatch.setattr(npm.subprocess, "run", run)
    assert not offline_assets.gather()
    assert said == ["Fetching by npm what web/package-lock.json names: up to some minutes, once\n"]


def test_only_the_chosen_files_are_kept_and_fetched_once(nothing_gathered, monkeypatch):
    calls = []

    def install(source, target):
        calls.append(target)
        for package, (_, patterns) in offline_assets.PARTS.items():
            for pattern in [*patterns, "unused.js"]:
                file = target / "node_modules" / package / pattern.replace("*", "some")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("//")
        return target / "node_modules"

    monkeypatch.setattr(npm, "install", install)
    assert offline_assets.gather() and offline_assets.gather()
    assert len(calls) == 1
    assert (offline_assets.STATIC / offline_assets.MATHJAX).exists()
    assert not list(offline_assets.WEB.rglob("unused.js"))
