"""What the live explorer loads: the trained network as ONNX, the test images' codes, a runtime.

``gather`` puts the files into ``_build/explorer/site/explorer``; the Sphinx extension
book/tools/sphinx/explorer.py adds them to the site. The runtime, onnxruntime-web, comes by npm.
Without npm nothing is gathered, and the page keeps its still picture.
"""

import gzip
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from book.tools.assets import npm
from book.tools.chapters import ROOT, ChapterError, environment

WEIGHTS = ROOT / "book/checkpoints/fig3"  # of a model with two code dimensions
SOURCE = Path(__file__).with_name("explorer_page")
WORK = ROOT / "_build" / "explorer"
SITE = WORK / "site"  # what is copied into the site's _static
ASSETS = SITE / "explorer"
SCRIPT = "ort.wasm.bundle.min"  # its .mjs becomes .js, which every file server knows
WASM = "ort-wasm-simd-threaded.wasm"


def key() -> str:
    """Checksum of all that the files are made from."""
    digest = hashlib.sha256(npm.checksum(SOURCE).encode())
    for file in (
        Path(__file__),
        *(WEIGHTS / name for name in ("card.json", "model.safetensors")),
        *sorted(ROOT.glob("scorerep/**/*.py")),
    ):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def modules() -> Path:
    """The folder node_modules with the runtime and the tests' browser driver; ``NpmError``."""
    return npm.install(SOURCE, WORK / "npm")


def gather() -> bool:
    """Have ``ASSETS`` hold the files; say on the terminal, and return False, if npm fails.

    ``ChapterError`` if the network cannot be exported.
    """
    stamp, wanted = WORK / "gathered", key()
    if ASSETS.is_dir() and stamp.exists() and stamp.read_text() == wanted:
        return True
    shutil.rmtree(SITE, ignore_errors=True)
    stamp.unlink(missing_ok=True)
    try:
        runtime = modules() / "onnxruntime-web" / "dist"
    except npm.NpmError as error:
        print(f"The live explorer is left out, its still picture stays: {error}")
        return False
    ASSETS.mkdir(parents=True)
    shutil.copy(runtime / f"{SCRIPT}.mjs", ASSETS / f"{SCRIPT}.js")
    # Compressed here, unpacked in the page: a plain file server sends files as they are.
    packed = gzip.compress((runtime / WASM).read_bytes(), 9, mtime=0)
    (ASSETS / f"{WASM}.gz").write_bytes(packed)
    command = [sys.executable, "-m", "scorerep.export", str(WEIGHTS), str(ASSETS)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(SITE)
        raise ChapterError(f"the explorer's network was not exported: {done.stderr.strip()}")
    stamp.write_text(wanted)
    return True


def megabytes() -> float:
    """What a reader's browser loads when the explorer starts, in MB of 1,000,000 bytes."""
    return sum(file.stat().st_size for file in ASSETS.iterdir()) / 1e6


if __name__ == "__main__":
    print(f"{megabytes():.1f} MB in {ASSETS.relative_to(ROOT)}" if gather() else "nothing gathered")
