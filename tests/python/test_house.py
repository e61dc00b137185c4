"""The rules of the house that a machine can check, on every source file of this checkout."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
CPP_SUFFIXES = {".cpp", ".hpp", ".h", ".c", ".cu", ".cuh"}
CONCEPTS = {"agent", "mailbox", "capability", "latent", "ledger", "policy", "task", "journal"}


def sources(*folders: str, suffixes: set[str] | None = None) -> list[Path]:
    """The source files below `folders` of the checkout, sorted."""
    wanted = suffixes or CPP_SUFFIXES | {".py"}
    found = [
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in wanted and path.is_file() and "__pycache__" not in path.parts
    ]
    assert found, f"no source below {folders}: is this a checkout?"
    return sorted(found)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- C++ without a compiler: enough to tell functions from the rest in clang-formatted code.

NOISE = re.compile(
    r'R"(?P<end>[^()\\\s]{0,16})\(.*?\)(?P=end)"'  # raw string
    r'|//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"'
    r"|\b\d[\w'.]*"  # a number may hold digit separators that look like quotes
    r"|'(?:\\.|[^'\\\n])+'"
    r"|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*",  # preprocessor lines with their continuations
    re.DOTALL | re.MULTILINE,
)


def without_noise(text: str) -> str:
    """Blanks comments, literals and preprocessor lines; every line keeps its number."""

    def blank(match: re.Match[str]) -> str:
        found = match.group()
        if found[0].isdigit():
            return re.sub(r"\W", " ", found)
        quotes = '""' if '"' in (found[0], found[1:2]) and found[0] != "/" else ""
        return quotes + re.sub(r"[^\n]", " ", found)[len(quotes) :]

    return NOISE.sub(blank, text)


class Function(NamedTuple):
    head: str
    line: int
    lines: int


def closing(code: str, opening: int) -> int:
    """The place of the brace that closes the one at `opening`."""
    depth = 0
    for place in range(opening, len(code)):
        depth += {"{": 1, "}": -1}.get(code[place], 0)
        if depth == 0:
            return place
    raise ValueError(f"line {code.count(chr(10), 0, opening) + 1}: a brace is never closed")


def kind_of(head: str) -> str:
    """What a brace opens, by the text before it: scope, data or function."""
    head = re.sub(r"\b(alignas|__attribute__|requires)\s*\(+[^)]*\)+", "", head)
    head = re.sub(r"\[\[[^\]]*\]\]", "", head)
    while match := re.match(r"\s*template\s*<", head):
        depth, place = 1, match.end()
        while depth and place < len(head):
            depth += {"<": 1, ">": -1}.get(head[place], 0)
            place += 1
        head = head[place:]
    head = head.strip()
    if re.match(r'(inline\s+)?namespace\b|extern\s+""\s*$', head):
        return "scope"
    if re.match(r"(typedef\s+)?enum\b", head) or head.endswith(("=", "return")):
        return "data"
    if "(" in head:
        return "function"
    if re.match(r"(typedef\s+|static\s+|const\s+)*(class|struct|union)\b", head):
        return "scope"
    return "data"


def cpp_functions(text: str) -> Iterator[Function]:
    """Functions that are not inside another one (what is inside counts with it)."""
    code = without_noise(text)
    code = re.sub(r"\b(public|private|protected):", lambda m: " " * len(m[0]), code)
    start, place, parens = 0, 0, 0
    while place < len(code):
        char = code[place]
        parens += {"(": 1, ")": -1}.get(char, 0)
        if char in ";}":
            if parens == 0:
                start = place + 1
        elif char == "{":
            end = closing(code, place)
            head = code[start:place]
            # clang-format puts no space before the brace of an initialiser: `count_{0}`.
            if parens or not code[place - 1].isspace():
                place = end
            elif (kind := kind_of(head)) == "scope":
                start = place + 1
            else:
                if kind == "function":
                    first = start + len(head) - len(head.lstrip())
                    line = code.count("\n", 0, first) + 1
                    last = code.count("\n", 0, end) + 1
                    yield Function(" ".join(head.split()), line, last - line + 1)
                place, start = end, end + 1
        place += 1


def python_functions(text: str) -> Iterator[Function]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield Function(node.name, node.lineno, lines)


SAMPLE = """\
#define LIST(X) \\
  X(1, {) /* not code */
namespace hanse {
// A comment with { and a "quote.
constexpr uint64_t big = 1'000'000;
constexpr int table[] = {1, 2, 3};
enum class Color : uint8_t { red, green };
struct alignas(128) Box final : public Base {
 public:
  explicit Box(int n = {}) : n_{n}, m_(2) { go(); }
  int n() const noexcept { return n_; }
  int count{0};

 private:
  template <class T>
    requires(std::is_arithmetic_v<T>)
  void put(T value) {
    if (value) {
      for (;;) {
      }
    }
  }
};
const char* brace() { return "{" R"x(}{)x"; }
char open() { return '{'; }
extern "C" int hanse_open(
    const char* path) {
  return guard([&] { return 1; });
}
extern "C" {
__global__ void score(const float* a) {
}
}
TEST(Box, KeepsItsPromise) {
}
}  // namespace hanse
"""


def test_the_function_finder_finds_each_function_of_a_sample_and_nothing_else() -> None:
    found = [(f.head, f.line, f.lines) for f in cpp_functions(SAMPLE)]
    assert found == [
        ("explicit Box(int n = {}) : n_{n}, m_(2)", 10, 1),
        ("int n() const noexcept", 11, 1),
        ("template <class T> requires(std::is_arithmetic_v<T>) void put(T value)", 15, 8),
        ("const char* brace()", 24, 1),
        ("char open()", 25, 1),
        ('extern "" int hanse_open( const char* path)', 26, 4),
        ("__global__ void score(const float* a)", 31, 2),
        ("TEST(Box, KeepsItsPromise)", 34, 2),
    ]


def test_the_function_finder_counts_a_long_body_and_refuses_an_open_brace() -> None:
    long_body = "void f() {\n" + "  g();\n" * 70 + "}\n"
    assert [f.lines for f in cpp_functions(long_body)] == [72]
    assert [f.lines for f in python_functions("def f():\n" + "    g()\n" * 70)] == [71]
    with pytest.raises(ValueError, match="line 1"):
        list(cpp_functions("void f() {\n"))


def test_no_file_is_longer_than_500_lines() -> None:
    lengths = {named(p): len(p.read_text().splitlines()) for p in sources("src", "tests", "bench")}
    assert {name: n for name, n in lengths.items() if n > FILE_LINES_MAX} == {}


def test_no_function_is_longer_than_70_lines() -> None:
    long = []
    for path in sources("src", "tests", "bench"):
        text = path.read_text()
        try:
            found = list(python_functions(text) if path.suffix == ".py" else cpp_functions(text))
        except ValueError as error:
            pytest.fail(f"{named(path)}: {error}")
        for function in found:
            if function.lines > FUNCTION_LINES_MAX:
                place = f"{named(path)}:{function.line}"
                long.append(f"{place}: {function.head[:60]}: {function.lines} lines")
    assert long == []


# --- who may include whom

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)
FOREIGN = re.compile(r"(Python\.h|pybind11|numpy/|cuda|cooperative_groups|cub/|thrust/|nv\w*\.h)")


def may_include(path: str, header: str) -> bool:
    """Whether a file (relative to src/) may include a quoted header (relative to src/cpp)."""
    layer, *rest = Path(path).parts
    own = rest[0] if len(rest) > 1 else ""
    folder = header.split("/")[0] if "/" in header else own
    if layer == "python":
        return True
    if layer == "cuda":
        return folder in {"base", own} or not own
    if own == "base":
        return folder == "base"
    if own in CONCEPTS:
        return folder in {"base", own} or (own, header) == ("task", "ledger/ledger.hpp")
    if own == "kernel":
        return folder in CONCEPTS | {"base", "kernel"}
    if own == "c":
        return folder in {"base", "kernel", "c"}
    return False


@pytest.mark.parametrize(
    ("path", "header", "allowed"),
    [
        ("cpp/task/task.cpp", "ledger/ledger.hpp", True),
        ("cpp/ledger/ledger.cpp", "task/task.hpp", False),
        ("cpp/mailbox/mailbox.cpp", "base/ids.hpp", True),
        ("cpp/base/hash.cpp", "journal/merkle.hpp", False),
        ("cpp/agent/agent.cpp", "journal/journal.hpp", False),
        ("cpp/kernel/kernel.cpp", "journal/journal.hpp", True),
        ("cpp/kernel/kernel.cpp", "c/hanse.h", False),
        ("cpp/c/hanse.cpp", "kernel/kernel.hpp", True),
        ("cpp/c/hanse.cpp", "ledger/ledger.hpp", False),
        ("cpp/c/hanse.cpp", "hanse.h", True),
        ("cpp/elsewhere/x.cpp", "base/ids.hpp", False),
        ("cuda/capability/search.cu", "latent/latent.hpp", False),
    ],
)
def test_the_include_rule_tells_right_from_wrong(path: str, header: str, allowed: bool) -> None:
    assert may_include(path, header) is allowed


def test_no_concept_includes_another_and_dependencies_point_one_way() -> None:
    wrong = []
    for path in sources("src", suffixes=CPP_SUFFIXES):
        for bracket, header in INCLUDE.findall(path.read_text()):
            if bracket == '"' and not may_include(str(path.relative_to(ROOT / "src")), header):
                wrong.append(f"{named(path)} includes {header}")
    assert wrong == []


def test_the_core_includes_no_python_and_no_cuda_header() -> None:
    wrong = [
        f"{named(path)} includes {header}"
        for path in sources("src/cpp", suffixes=CPP_SUFFIXES)
        for bracket, header in INCLUDE.findall(path.read_text())
        if bracket == "<" and FOREIGN.match(header)
    ]
    assert wrong == []


def test_no_backend_is_chosen_by_the_preprocessor() -> None:
    condition = re.compile(r"^\s*#\s*(?:el)?if.*(CUDA|GPU|HIP|ROCM)", re.MULTILINE)
    folders = ("src/cpp", "src/python")
    wrong = [
        f"{named(path)}: {match.group().strip()}"
        for path in sources(*folders, suffixes=CPP_SUFFIXES)
        for match in condition.finditer(path.read_text())
    ]
    assert wrong == []


# --- names and words

NAMELESS = {"util", "utils", "common", "helper", "helpers", "misc"}


def test_no_folder_or_file_is_named_after_nothing() -> None:
    wrong = [
        named(path)
        for folder in ("src", "tests", "bench")
        for path in (ROOT / folder).rglob("*")
        if NAMELESS & set(re.split(r"[_\-.]", path.name.lower()))
    ]
    assert wrong == []


def test_no_source_puts_work_off_in_a_comment() -> None:
    # Spelt in two halves, so that this file passes its own test.
    later = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX"]) + r")\b")
    wrong = [
        f"{named(path)}:{number}"
        for path in sources("src", "tests", "bench")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if later.search(line)
    ]
    assert wrong == []


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Public functions, classes and methods of a module that say nothing of themselves."""

    def visit(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            decorators = [ast.unparse(d) for d in node.decorator_list]
            setter = any(d.endswith((".setter", ".deleter", "overload")) for d in decorators)
            if node.name.startswith("_") or setter:
                continue
            if ast.get_docstring(node) is None:
                yield f"{prefix}{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from visit(node.body, f"{prefix}{node.name}.")

    yield from visit(tree.body, "")


def test_the_docstring_rule_sees_what_is_public_and_silent() -> None:
    sample = 'class A:\n  "x"\n  def b(self): ...\n  def _c(self): ...\ndef d():\n  "y"\n'
    assert list(undocumented(ast.parse(sample))) == ["A.b"]


def test_every_public_python_function_has_a_docstring() -> None:
    # The demo is a program, not a library: its functions are called by nobody else.
    silent = [
        f"{named(path)}: {name}"
        for path in sources("src/python/hanse", suffixes={".py"})
        if path.parent.name != "demo"
        for name in undocumented(ast.parse(path.read_text()))
    ]
    assert silent == []
