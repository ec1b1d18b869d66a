"""Fetching data: from the first mirror that answers, by one process, whole or not at all."""

import hashlib
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from filelock import FileLock

from scorerep.data.images import DataError

UNREACHABLE = (URLError, HTTPException, ConnectionError, TimeoutError, EOFError)
TIMEOUT = 10.0  # seconds without an answer, for each connection


def first_that_answers(mirrors: Sequence[str], fetch: Callable[[str], None]):
    """``fetch`` from the first of ``mirrors`` that has it; ``URLError`` with what each did."""
    failed = []
    for mirror in mirrors:
        try:
            return fetch(mirror)
        # A silent mirror is a TimeoutError, and a file of another sum a RuntimeError.
        except (*UNREACHABLE, RuntimeError) as error:
            failed.append(f"{mirror}: {error}")
    raise URLError("; ".join(failed))


def download(
    name: str, root: Path, fetch: Callable[[Path], None], files: Sequence[str], folder: Path
):
    """``fetch`` the data set ``name`` beside the others, then move ``files`` to ``folder``, whole.

    A failed download becomes one sentence that keeps its reason.
    """
    part = "; a part comes with the book: 'cifar10-part'" if name == "cifar10" else ""
    before, place = socket.getdefaulttimeout(), root / f".fetch-{name}"
    socket.setdefaulttimeout(TIMEOUT)
    try:
        shutil.rmtree(place, ignore_errors=True)  # of a killed download
        place.mkdir(parents=True)
        fetch(place)
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            os.replace(place / file, folder / file)
    except (*UNREACHABLE, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
        raise FileNotFoundError(
            f"{name} is not in {root.absolute()} and could not be downloaded ({reason}): set "
            "SCOREREP_DATA to a folder that has it, or run 'python -m scorerep data "
            f"{name}' with a network{part}"
        ) from None
    except OSError as error:
        raise DataError(f"cannot store {name} in {root.absolute()}: {error}") from None
    finally:
        socket.setdefaulttimeout(before)
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def alone(root: Path, name: str) -> Iterator[None]:
    """No other process fetches or converts ``name``. A root nobody can write to needs no lock."""
    lock = FileLock(root / f".{name}.lock")
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


def check_md5(path: Path, published: str):
    """``DataError`` unless ``published`` is the MD5 sum of the file at ``path``."""
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "md5").hexdigest() == published:
            return
    raise DataError(
        f"{path} is damaged (its MD5 is not the published one): "
        "delete it to have it downloaded again"
    )
