"""requirements.txt names one version of everything."""

import re

import pytest

from book.tools import chapters
from book.tools.chapters import reach

PIN = re.compile(r"[A-Za-z0-9][\w.-]*(\[[\w,-]+\])?==[\w.!+-]+( *;.+)?")  # and for whom


def unpinned(text: str) -> list[str]:
    return [line for line in reach.pins(text) if not PIN.fullmatch(line)]


def test_every_requirement_is_pinned():
    assert unpinned((chapters.ROOT / "requirements.txt").read_text("utf-8")) == []


@pytest.mark.parametrize("line", ["torch", "torch>=2", "torch==2.*", "torch~=2.1", "-r other.txt"])
def test_line_without_one_version_is_told(line):
    assert unpinned(f"# tools\nnumpy==2.4.6  # why\n{line}\n") == [line]
