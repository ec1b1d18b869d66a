"""Do the book's links to other sites still lead anywhere?  ``python book/links.py``

Sphinx's link checker does the work, on the executed chapters; it needs the network. A site that
turns robots away (403 and the like) proves nothing and is only listed.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from build_site import BUILD, CACHE, HTML, fill_cache

from chapters import ROOT, ChapterError, environment

REPORT = HTML / "output.json"  # where jupyter-book has it written, whatever the builder
REFUSED = (401, 403, 405, 418, 429, 503, 999)  # answers to a robot, not to a reader


def sort_out(report: str) -> tuple[list[str], list[str]]:
    """Lines on broken links, and on those that could not be checked, from Sphinx's report."""
    broken, unsure = [], []
    for entry in map(json.loads, filter(None, report.splitlines())):
        if entry["status"] not in ("broken", "timeout"):
            continue
        line = f"{entry['filename']}:{entry['lineno']}: {entry['uri']} ({entry['info']})"
        code = next((code for code in REFUSED if f"{code} " in entry["info"]), entry.get("code"))
        (unsure if code in REFUSED or entry["status"] == "timeout" else broken).append(line)
    return sorted(set(broken)), sorted(set(unsure))


def check() -> list[str]:
    """The broken links; those that could not be checked are printed."""
    for old in (CACHE, BUILD / ".doctrees"):
        shutil.rmtree(old, ignore_errors=True)
    fill_cache()
    REPORT.unlink(missing_ok=True)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", ROOT]
    command += ["--builder", "linkcheck", "-q"]
    env = environment() | {"PYTHONPATH": f"{ROOT}:{ROOT / 'book'}"}
    subprocess.run(command, stdout=subprocess.DEVNULL, env=env)
    if not REPORT.exists():
        raise ChapterError("Sphinx's link checker wrote no report; its messages are above")
    broken, unsure = sort_out(REPORT.read_text("utf-8"))
    for file in (REPORT, REPORT.with_suffix(".txt")):  # the site is none the wiser
        file.unlink()
    print("".join(f"could not be checked: {line}\n" for line in unsure), end="")
    return broken


if __name__ == "__main__":
    try:
        if broken := check():
            sys.exit("\n".join(f"broken: {line}" for line in broken))
    except ChapterError as error:
        sys.exit(str(error))
    print("every link that could be checked leads somewhere")
