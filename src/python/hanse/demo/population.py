"""Who the agents are: every documented public callable of the running Python installation.

Sources are parsed with `ast` and never imported. Only modules of the standard library that have no
source (built in, or extension modules of lib-dynload) are imported and inspected.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import platform
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

WORDS_MIN = 3
# A docstring beyond this is cut: it bounds what a worker can return, so that a budget can be set.
DOC_CHARACTERS_MAX = 8_000
# Names of agents have at most 256 bytes.
NAME_BYTES_MAX = 240
LEFT_OUT_OF_STDLIB = frozenset(
    {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"}
)
LEFT_OUT_OF_PACKAGES = frozenset({"test", "tests", "__pycache__"})
# Extension modules that exist for CPython's own tests, or that touch the terminal when imported.
UNSAFE_EXTENSION = re.compile(r"^(_test|_xx|xx|_ctypes_test|_tkinter|readline$)")

_SPACE = re.compile(r"\s+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z(\[`'\"*:0-9])")
_PARAGRAPH = re.compile(r"\n[ \t]*\n")


def fold(text: str) -> str:
    """One line of valid UTF-8: every run of white space becomes one space."""
    # A source may hold lone surrogates as escapes; no payload can carry them.
    return _SPACE.sub(" ", text).strip().encode("utf-8", "replace").decode()


def first_sentence(doc: str) -> str:
    """The first sentence of a raw docstring, folded; its first paragraph where none ends in it."""
    paragraph = fold(_PARAGRAPH.split(doc.strip(), maxsplit=1)[0])
    return _SENTENCE_END.split(paragraph, maxsplit=1)[0]


@dataclass(frozen=True, slots=True)
class Documented:
    """One agent to be: `doc` is folded, `sentence` is its first sentence."""

    name: str
    package: str
    doc: str
    sentence: str

    @property
    def text(self) -> str:
        """What the agent is matched by."""
        return f"{self.name} {self.sentence}"

    @property
    def rest(self) -> str:
        """What is left of the docstring after the first sentence."""
        return self.doc[len(self.sentence) :].strip()


@dataclass(slots=True)
class Counts:
    """What was read and what was left out."""

    files: int = 0
    skipped_files: int = 0
    inspected_modules: int = 0
    documented: int = 0
    short: int = 0
    repeated_names: int = 0
    repeated_docs: int = 0


@dataclass(slots=True)
class Population:
    """The callables, ascending by qualified name."""

    callables: list[Documented]
    counts: Counts
    python: str = field(default_factory=platform.python_version)

    @property
    def packages(self) -> list[str]:
        """The top packages, in order."""
        return sorted({each.package for each in self.callables})

    @property
    def digest(self) -> str:
        """SHA-256 over the capability texts, one a line."""
        digest = hashlib.sha256()
        for each in self.callables:
            digest.update(each.text.encode() + b"\n")
        return digest.hexdigest()


def _public(name: str) -> bool:
    return not name.startswith("_")


def documented(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    """(qualified name, raw docstring) of the public functions, classes and methods of a module."""
    stack: list[tuple[str, ast.stmt]] = [(module, node) for node in reversed(tree.body)]
    while stack:
        prefix, node = stack.pop()
        if isinstance(node, ast.If | ast.Try):
            # A callable that exists on some platforms only is still part of the sources.
            inner = [*node.body, *node.orelse]
            stack.extend((prefix, each) for each in reversed(inner))
            continue
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if not _public(node.name):
            continue
        name = f"{prefix}.{node.name}"
        doc = ast.get_docstring(node)
        if doc:
            yield name, doc
        if isinstance(node, ast.ClassDef):
            stack.extend((name, each) for each in reversed(node.body))


def module_name(path: Path, root: Path) -> str:
    """The dotted name of the module in `path`, a file below `root`."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts)


def sources(root: Path, left_out: frozenset[str]) -> Iterator[Path]:
    """The Python files below `root` in sorted order; links to folders are not followed."""
    for path in sorted(root.rglob("*.py")):
        folders = path.relative_to(root).parts[:-1]
        if left_out.isdisjoint(folders) and all(each.isidentifier() for each in folders):
            yield path


def from_sources(root: Path, left_out: frozenset[str], counts: Counts) -> Iterator[tuple[str, str]]:
    """Parses every source below `root`; what cannot be read or parsed is skipped and counted."""
    for path in sources(root, left_out):
        try:
            with warnings.catch_warnings():
                # Old sources hold invalid escapes; that is their author's business.
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_bytes(), filename=str(path))
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            counts.skipped_files += 1
            continue
        counts.files += 1
        yield from documented(tree, module_name(path, root))


def _doc_of(value: object) -> str | None:
    doc = getattr(value, "__doc__", None)
    return inspect.cleandoc(doc) if isinstance(doc, str) else None


def inspected(module: ModuleType) -> Iterator[tuple[str, str]]:
    """(qualified name, docstring) of the public callables of a module that has no source."""
    for name in sorted(vars(module)):
        value = vars(module)[name]
        if not _public(name) or not callable(value):
            continue
        if getattr(value, "__module__", module.__name__) not in (module.__name__, None):
            continue
        if doc := _doc_of(value):
            yield f"{module.__name__}.{name}", doc
        if not inspect.isclass(value):
            continue
        for member_name in sorted(vars(value)):
            member = vars(value)[member_name]
            if not _public(member_name) or not callable(member):
                continue
            if doc := _doc_of(member):
                yield f"{module.__name__}.{name}.{member_name}", doc


def compiled_modules() -> list[str]:
    """Names of the standard library's modules without source that are safe to import."""
    names = set(sys.builtin_module_names)
    for root in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}:
        for path in (Path(root) / "lib-dynload").glob("*.so"):
            names.add(path.name.split(".", 1)[0])
    stdlib = sys.stdlib_module_names | set(sys.builtin_module_names)
    return sorted(each for each in names & stdlib if not UNSAFE_EXTENSION.match(each))


def from_compiled(counts: Counts) -> Iterator[tuple[str, str]]:
    """Imports and inspects the modules of the standard library that have no source."""
    for name in compiled_modules():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = importlib.import_module(name)
        except Exception:  # a module that will not load here has no callables here
            counts.skipped_files += 1
            continue
        counts.inspected_modules += 1
        yield from inspected(module)


def package_roots() -> list[Path]:
    """Folders that hold installed packages, as the running interpreter sees them."""
    roots = [Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("platlib"))]
    roots += [
        Path(each) for each in sys.path if Path(each).name in ("site-packages", "dist-packages")
    ]
    seen: dict[Path, None] = {}
    for root in roots:
        if root.is_dir():
            seen.setdefault(root.resolve(), None)
    return list(seen)


def build(found: Iterator[tuple[str, str]] | list[tuple[str, str]], counts: Counts) -> Population:
    """Folds, drops what is too short or repeated (the first in sorted order wins), sorts."""
    entries = sorted(set(found))
    counts.documented = len(entries)
    names: set[str] = set()
    docs: set[bytes] = set()
    kept: list[Documented] = []
    for name, raw in entries:
        doc = fold(raw)[:DOC_CHARACTERS_MAX]
        if len(doc.split(" ", WORDS_MIN)) < WORDS_MIN or len(name.encode()) > NAME_BYTES_MAX:
            counts.short += 1
            continue
        if name in names:
            counts.repeated_names += 1
            continue
        digest = hashlib.sha256(doc.encode()).digest()
        if digest in docs:
            counts.repeated_docs += 1
            continue
        names.add(name)
        docs.add(digest)
        sentence = first_sentence(raw)[:DOC_CHARACTERS_MAX]
        kept.append(Documented(name, name.split(".", 1)[0], doc, sentence))
    return Population(kept, counts)


def collect() -> Population:
    """The population of the running installation."""
    counts = Counts()
    found: list[tuple[str, str]] = []
    found += from_sources(Path(sysconfig.get_path("stdlib")), LEFT_OUT_OF_STDLIB, counts)
    for root in package_roots():
        found += from_sources(root, LEFT_OUT_OF_PACKAGES, counts)
    found += from_compiled(counts)
    return build(found, counts)
