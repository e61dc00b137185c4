"""The C face as a stranger uses it: the installed header and library, and a C compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import hanse

PROGRAMS = Path(__file__).resolve().parents[1] / "c"
# An editable install keeps compiled files beside `_core`, not beside the sources.
HOME = next(
    home
    for home in (Path(hanse.__file__).parent, Path(hanse._core.__file__).parent)
    if (home / "include" / "hanse.h").is_file()
)
HEADERS = sorted(path.name for path in (HOME / "include").glob("hanse*.h"))
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{HOME / 'include'}"]


@pytest.fixture(scope="module")
def compiler() -> str:
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        pytest.skip("there is no C compiler on this machine")
    return found


def run(command: list[str]) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_compiles_as_c11_alone(compiler: str, tmp_path: Path, header: str) -> None:
    alone = tmp_path / "alone.c"
    alone.write_text(
        f'#include "{header}"\nint nothing(void);\nint nothing(void) {{ return 0; }}\n'
    )
    run([compiler, *FLAGS, "-c", str(alone), "-o", str(tmp_path / "alone.o")])


@pytest.mark.parametrize("name", sorted(path.stem for path in PROGRAMS.glob("*.c")))
def test_a_c_program_drives_the_installed_library(compiler: str, tmp_path: Path, name: str) -> None:
    program, folder = tmp_path / name, HOME / "lib"
    link = [f"-L{folder}", "-lhanse", f"-Wl,-rpath,{folder}"]
    run([compiler, *FLAGS, str(PROGRAMS / f"{name}.c"), "-o", str(program), *link])
    assert run([str(program)]).strip().endswith("ok")


def test_the_library_exports_its_own_names_and_no_others(compiler: str) -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("there is no nm on this machine")
    lines = run([nm, "-D", "--defined-only", str(HOME / "lib" / "libhanse.so")]).splitlines()
    names = {line.split()[-1].split("@")[0] for line in lines if line.split()[-2] in "TDB"}
    folder = HOME / "include"
    header = "".join((folder / name).read_text() for name in HEADERS)
    assert names
    assert {name for name in names if not name.startswith("hanse_") or name not in header} == set()
