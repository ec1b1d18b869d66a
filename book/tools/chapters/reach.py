"""What a chapter's outputs rest on: the code its cells reach by import, and the files they read.

Code is followed statically, from the cells through every import of this repository's modules,
those inside functions too. A module counts by what it does: neither comments nor docstrings nor
layout are part of its checksum. The weights and tables that a chapter reads stand in its header,

    scorerep: {weights: [fig3, fig7], tables: [codes, curves]}

and without such a header are taken from the strings of its cells; where those name a folder
alone, whose files the cell then chooses, all of that folder count. A README.md there is for people.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

LAZY = "_HOME"  # a package's table of names that it imports when they are first asked for
# What these say counts where it is used; a study's HOURS, which only the README has, nowhere.
UNCOUNTED = {LAZY, "__all__", "__version__", "HOURS"}


# Modules


def module_file(root: Path, name: str) -> Path | None:
    """The source of a module of the repository, ``scorerep.sde`` or ``scorerep.sde.ve``."""
    place = root.joinpath(*name.split("."))
    for file in (place / "__init__.py", place.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def parsed(file: Path) -> ast.Module:
    """A source file's tree; parsed once, and again when the file has changed."""
    status = file.stat()
    return _parsed(file, status.st_mtime_ns, status.st_size)


@cache
def _parsed(file: Path, _time: int, _size: int) -> ast.Module:
    return ast.parse(file.read_text("utf-8"), str(file))


def code_checksum(file: Path) -> str:
    """Checksum of what a module does: of its tree without docstrings."""
    status = file.stat()
    return _code_checksum(file, status.st_mtime_ns, status.st_size)


@cache
def _code_checksum(file: Path, _time: int, _size: int) -> str:
    tree = ast.parse(file.read_text("utf-8"), str(file))
    tree.body = [line for line in tree.body if not _assigned(line) & UNCOUNTED]
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):  # of a class, a function, a branch; a string there does nothing
            node.body = [line for line in body if not _is_string(line)] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_string(line: ast.stmt) -> bool:
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


def _assigned(line: ast.stmt) -> set[str]:
    targets = line.targets if isinstance(line, ast.Assign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


# Imports


def imported(tree: ast.AST, package: str = "") -> Iterator[str]:
    """Every dotted name that code imports, ``scorerep.sde.VESDE``, or finds in what it imported.

    Args:
        tree: of a module, or of a chapter's cells.
        package: in which relative imports are resolved.
    """
    known = {}  # what a name of this code stands for
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
                first = alias.name.split(".")[0]
                known[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                yield f"{base}.{alias.name}"
                known[alias.asname or alias.name] = f"{base}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (chain := _chain(node)):
            if chain[0] in known:
                yield ".".join([known[chain[0]], *chain[1:]])


def _chain(node: ast.expr) -> list[str]:
    """``a.b.c`` as its parts; empty for what does not begin with a name."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (before := _chain(node.value)):
        return [*before, node.attr]
    return []


def modules_of(root: Path, dotted: str) -> list[str]:
    """The repository's modules that run when a dotted name is imported, packages first."""
    found, parts = [], dotted.split(".")
    for length in range(1, len(parts) + 1):
        name = ".".join(parts[:length])
        if module_file(root, name) is None:
            home = lazy_names(root, ".".join(parts[: length - 1])).get(parts[length - 1])
            return found + (modules_of(root, home) if home else [])
        found.append(name)
    return found


def lazy_names(root: Path, package: str) -> dict[str, str]:
    """Name → module of what a package imports only when it is asked for (PEP 562)."""
    file = module_file(root, package) if package else None
    for line in parsed(file).body if file else ():
        if LAZY in _assigned(line):
            return {n: f"{package}.{home}" for n, home in ast.literal_eval(line.value).items()}
    return {}


def reached(root: Path, source: str) -> dict[str, Path]:
    """Every module of the repository that code reaches by import: name → file, sorted by name."""
    found: dict[str, Path] = {}
    waiting = [name for dotted in imported(ast.parse(source)) for name in modules_of(root, dotted)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        file = found[name] = module_file(root, name)
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for dotted in imported(parsed(file), package):
            waiting += modules_of(root, dotted)
    return dict(sorted(found.items()))


# Files


def strings(tree: ast.AST) -> set[str]:
    """All strings of code, the fixed parts of f-strings among them."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def chosen(folder: Path, named: list[str]) -> list[Path]:
    """The entries of a folder that a header names, without suffix; ``ValueError`` for others."""
    known = {entry.name.removesuffix(".csv"): entry for entry in sorted(folder.glob("*"))}
    names = [str(name).removesuffix(".csv") for name in named]
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"its header names {', '.join(missing)}, not in {folder.name}/")
    return [known[name] for name in sorted(set(names))]


def mentioned(folder: Path, texts: set[str]) -> list[Path]:
    """The entries of a folder that strings name, as ``results/codes.csv``; all for ``results``."""
    paths = [text.split("/") for text in texts]
    after = [path[path.index(folder.name) + 1 :] for path in paths if folder.name in path]
    names = {rest[0] if rest else "" for rest in after}
    entries = sorted(folder.glob("*"))
    if any(not (folder / name).exists() or name == "" for name in names):
        return entries
    return [entry for entry in entries if entry.name in names]


def files_read(root: Path, source: str, header: dict, modules: dict[str, Path]) -> list[Path]:
    """Files under book/checkpoints and book/results that a chapter's outputs rest on."""
    texts = strings(ast.parse(source))
    for name, file in modules.items():
        if name.startswith("book.studies."):
            texts |= strings(parsed(file))
    entries = []
    for kind, name in (("weights", "checkpoints"), ("tables", "results")):
        folder = root / "book" / name
        named = header.get(kind)
        entries += mentioned(folder, texts) if named is None else chosen(folder, named)
    files = {entry for entry in entries if entry.is_file()}
    for entry in entries:
        files |= {f for f in entry.rglob("*") if f.is_file() and f.name != "README.md"}
    return sorted(files)


def pins(requirements: str) -> list[str]:
    """The lines of a requirements file that ask for something, sorted; without hashes."""
    lines = requirements.replace("\\\n", " ").splitlines()
    asked = (re.sub(r"(^|\s)(#|--hash).*", "", line).strip() for line in lines)
    return sorted(filter(None, asked))


def direct_pins(root: Path) -> list[str]:
    """The versions of what is asked for directly: of all packages in requirements.txt, or of those
    in requirements.in, where requirements.txt is made from that."""
    found, source = pins((root / "requirements.txt").read_text("utf-8")), root / "requirements.in"
    if not source.exists():
        return found
    direct = {_package(line) for line in pins(source.read_text("utf-8"))}
    return [line for line in found if _package(line) in direct]


def _package(requirement: str) -> str:
    """The normalised name at the beginning of a requirement."""
    name = re.match(r"[\w.-]*", requirement)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def file_checksum(file: Path) -> str:
    """Checksum of a file's bytes; read once, and again when the file has changed."""
    status = file.stat()
    return _file_checksum(file, status.st_mtime_ns, status.st_size)


@cache
def _file_checksum(file: Path, _time: int, _size: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def checksums(root: Path, source: str, header: dict) -> dict[str, str]:
    """Name of everything that a chapter's outputs rest on beside its cells → checksum.

    ``ValueError`` where the header names a file that is not there, or code cannot be read.
    """
    modules = reached(root, source)
    code = {name: code_checksum(file) for name, file in modules.items()}
    files = {
        file.relative_to(root).as_posix(): file_checksum(file)
        for file in files_read(root, source, header, modules)
    }
    return code | files
