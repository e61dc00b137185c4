"""The population of the demo: parsed, never imported; the same texts, the same hash."""

import ast
import sys
from pathlib import Path

import pytest

from hanse.demo import population
from hanse.demo.population import Counts, build, first_sentence, fold


def tree(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def names(found: population.Population) -> list[str]:
    return [each.name for each in found.callables]


def collect(root: Path, left_out: frozenset[str] = frozenset()) -> population.Population:
    counts = Counts()
    return build(list(population.from_sources(root, left_out, counts)), counts)


def function(name: str, doc: str, indent: str = "") -> str:
    return f'{indent}def {name}():\n{indent}    """{doc}"""\n'


def test_sources_are_parsed_and_never_imported(tmp_path):
    source = "raise SystemExit('imported')\n" + function("open_door", "Opens the door slowly.")
    found = collect(tree(tmp_path, {"explosive_module_of_the_test.py": source}))
    assert names(found) == ["explosive_module_of_the_test.open_door"]
    assert "explosive_module_of_the_test" not in sys.modules


def test_functions_classes_methods_and_conditional_ones_are_found(tmp_path):
    source = (
        "class Box:\n    '''A box of things.'''\n"
        + function("put", "Puts a thing in.", "    ")
        + function("_hide", "Hides a thing in.", "    ")
        + "if True:\n"
        + function("walk", "Walks for a while.", "    ")
        + "else:\n"
        + function("ride", "Rides for a while.", "    ")
        + "async def fly():\n    '''Flies for a while.'''\n"
        + "def bare(): pass\n"
    )
    found = collect(tree(tmp_path, {"pack/__init__.py": "", "pack/mod.py": source}))
    assert names(found) == [
        "pack.mod.Box",
        "pack.mod.Box.put",
        "pack.mod.fly",
        "pack.mod.ride",
        "pack.mod.walk",
    ]
    assert {each.package for each in found.callables} == {"pack"}


def test_what_cannot_be_parsed_is_skipped_and_counted(tmp_path):
    root = tree(
        tmp_path,
        {
            "good.py": function("go", "Goes on and on."),
            "syntax.py": "def (:\n",
            "bytes.py": b"x = '\xff\xfe'\n",
            "null.py": b"x = 1\0\n",
        },
    )
    found = collect(root)
    assert names(found) == ["good.go"]
    assert (found.counts.files, found.counts.skipped_files) == (1, 3)


def test_folders_that_are_left_out_are_not_read(tmp_path):
    root = tree(
        tmp_path,
        {
            "kept.py": function("go", "Goes on and on."),
            "test/a.py": function("tested", "Is only a test."),
            "deep/idlelib/b.py": function("idle", "Is only an editor."),
            "not-a-package/c.py": function("odd", "Is in no package."),
        },
    )
    assert names(collect(root, population.LEFT_OUT_OF_STDLIB)) == ["kept.go"]


def test_repeated_docstrings_and_names_are_dropped_and_the_first_in_sorted_order_wins():
    counts = Counts()
    found = build(
        [
            ("z.late", "The very same words."),
            ("a.early", "The  very\nsame words."),
            ("m.twice", "One text of it."),
            ("m.twice", "Another text of it."),
        ],
        counts,
    )
    assert [(each.name, each.doc) for each in found.callables] == [
        ("a.early", "The very same words."),
        ("m.twice", "Another text of it."),
    ]
    assert (counts.repeated_docs, counts.repeated_names) == (1, 1)


@pytest.mark.parametrize(("doc", "kept"), [("Two words.", 0), ("Now three words.", 1)])
def test_a_docstring_has_at_least_three_words(doc, kept):
    assert len(build([("a.b", doc)], Counts()).callables) == kept


@pytest.mark.parametrize(
    ("doc", "sentence"),
    [
        ("Reads a file. Then closes it.", "Reads a file."),
        ("Reads e.g. a file. Closes it.", "Reads e.g. a file."),
        ("Reads a\n   file\n\nand closes it.", "Reads a file"),
        ("  Only one  ", "Only one"),
    ],
)
def test_the_first_sentence_ends_with_its_stop_or_its_paragraph(doc, sentence):
    assert first_sentence(doc) == sentence
    assert fold(doc).startswith(sentence)


def test_capability_text_is_the_name_and_the_first_sentence():
    (each,) = build([("a.b", "Reads a file. Closes it.")], Counts()).callables
    assert each.text == "a.b Reads a file."
    assert each.rest == "Closes it."


def test_a_lone_surrogate_becomes_valid_text():
    (each,) = build([("a.b", "Reads a \ud800 file.")], Counts()).callables
    assert each.doc.encode() == b"Reads a ? file."


def test_the_hash_tells_populations_apart_and_does_not_depend_on_order():
    entries = [("a.b", "Reads a file."), ("a.c", "Writes a file.")]
    first = build(entries, Counts()).digest
    assert first == build(entries[::-1], Counts()).digest
    assert first != build(entries[:1], Counts()).digest


def test_compiled_modules_belong_to_the_standard_library():
    found = population.compiled_modules()
    assert "builtins" in found
    assert "math" in found
    stdlib = sys.stdlib_module_names | set(sys.builtin_module_names)
    assert set(found) <= stdlib
    assert not [each for each in found if each.startswith(("_test", "xx", "_xx"))]


def test_compiled_callables_are_inspected():
    import math

    found = dict(population.inspected(math))
    assert "math.gcd" in found
    assert not [name for name in found if "._" in name]


def test_documented_reads_a_module_without_callables_as_empty():
    assert list(population.documented(ast.parse("x = 1"), "m")) == []
