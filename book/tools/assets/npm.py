"""Packages from npm, installed under _build from a package.json and its lock file.

Nothing of them is committed. A lock file names versions and checksums but no registry, so npm
fetches from wherever the reader's own configuration says.
"""

import hashlib
import shutil
import subprocess
from pathlib import Path

FILES = ("package.json", "package-lock.json")


class NpmError(Exception):
    """Packages that could not be had; the message says why."""


def checksum(source: Path) -> str:
    """Of the package.json and lock file in ``source``: what an installation is known by."""
    return hashlib.sha256(b"".join((source / name).read_bytes() for name in FILES)).hexdigest()


def install(source: Path, target: Path) -> Path:
    """``target/node_modules`` with what the lock file in ``source`` says; at once if it is there.

    No package's own scripts are run. ``NpmError`` without npm, or where npm fails.
    """
    stamp, key = target / "installed", checksum(source)
    modules = target / "node_modules"
    if modules.is_dir() and stamp.exists() and stamp.read_text() == key:
        return modules
    if shutil.which("npm") is None:
        raise NpmError("npm is not installed")
    target.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    for name in FILES:
        shutil.copy(source / name, target / name)
    lock = f"{source.name}/{FILES[1]}"
    print(f"Fetching by npm what {lock} names: up to some minutes, once", flush=True)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=target, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line] or ["no reason given"]
        raise NpmError(f"npm ci failed: {said[0].strip()}")
    stamp.write_text(key)
    return modules
