"""The same life of a kernel in other runtimes: work, kill, resume, verify.

HANSE_PREFIX names what `cmake --install BUILD --component development --prefix PREFIX` made.
HANSE_NODE_MODULES names a folder with koffi; without it the Node program is skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PREFIX = Path(os.environ.get("HANSE_PREFIX", "/nowhere"))
TIMEOUT_S = 300

pytestmark = pytest.mark.skipif(
    not PREFIX.is_dir(), reason="HANSE_PREFIX names no folder with an installed library"
)

Program = list[str]


def library_folder() -> Path:
    found = sorted(PREFIX.rglob("libhanse.so.0"))
    assert found, f"{PREFIX} has no libhanse.so.0"
    return found[0].parent


def tool(*names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.skip(f"there is no {names[0]} on this machine")


def run(command: list[str], **extra: str) -> str:
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, env={**os.environ, **extra}
    )
    assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def flags() -> list[str]:
    folder = str(library_folder() / "pkgconfig")
    text = run([tool("pkg-config"), "--cflags", "--libs", "hanse"], PKG_CONFIG_PATH=folder)
    return [*text.split(), f"-Wl,-rpath,{library_folder()}"]


def by_pkg_config(folder: Path) -> Program:
    program = str(folder / "consumer")
    source = str(HERE / "consumer.c")
    run([tool("cc", "gcc"), "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", source, "-o", program,
         *flags(), "-lm"])  # fmt: skip
    return [program]


def by_cpp(folder: Path) -> Program:
    program = str(folder / "consumer")
    source = str(HERE / "consumer.cpp")
    run([tool("c++", "g++"), "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", source, "-o",
         program, *flags()])  # fmt: skip
    return [program]


def by_find_package(folder: Path) -> Program:
    cmake = tool("cmake")
    run(
        [
            cmake,
            "-S",
            str(HERE / "find_package"),
            "-B",
            str(folder),
            f"-DCMAKE_PREFIX_PATH={PREFIX}",
        ]
    )
    run([cmake, "--build", str(folder)])
    return [str(folder / "consumer_cpp")]


def by_rust(folder: Path) -> Program:
    target = str(folder / "target")
    manifest = str(HERE / "rust/Cargo.toml")
    command = [tool("cargo"), "build", "--release", "--offline", "--quiet"]
    run([*command, "--manifest-path", manifest, "--target-dir", target],
        HANSE_LIB=str(library_folder()))  # fmt: skip
    return [f"{target}/release/consumer"]


def by_node(folder: Path) -> Program:
    node = tool("node")
    modules = os.environ.get("HANSE_NODE_MODULES", "")
    if not Path(modules, "koffi").is_dir():
        pytest.skip("HANSE_NODE_MODULES names no folder with koffi")
    return [node, str(HERE / "consumer.js")]


def by_ctypes(folder: Path) -> Program:
    return [sys.executable, str(HERE / "consumer.py")]


WAYS = [by_pkg_config, by_find_package, by_cpp, by_rust, by_node, by_ctypes]


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: way.__name__.removeprefix("by_"))
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    way: Callable[[Path], Program] = request.param
    return way(tmp_path_factory.mktemp(way.__name__))


@pytest.fixture
def environment() -> dict[str, str]:
    return {
        **os.environ,
        "HANSE_LIBRARY": str(library_folder() / "libhanse.so"),
        "NODE_PATH": os.environ.get("HANSE_NODE_MODULES", ""),
    }


def test_a_program_is_killed_and_another_goes_on_where_it_was(
    program: Program, environment: dict[str, str], tmp_path: Path
) -> None:
    folder = str(tmp_path / "journal")
    begun = subprocess.Popen(
        [*program, "begin", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert begun.stdout is not None
        line = begun.stdout.readline()
    finally:
        begun.send_signal(signal.SIGKILL)
        _, errors = begun.communicate(timeout=TIMEOUT_S)
    assert line.startswith("task "), errors
    task = line.split()[1]
    for _ in range(2):
        ran = subprocess.run(
            [*program, "resume", folder, task],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=environment,
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout == "ok\n"


def test_the_library_names_its_version_with_each_symbol() -> None:
    symbols = run([tool("nm"), "-D", "--defined-only", str(library_folder() / "libhanse.so.0")])
    names = [line.split()[-1] for line in symbols.splitlines() if line.split()[-2] == "T"]
    assert names
    assert all(name.startswith("hanse_") and name.endswith("@@HANSE_0") for name in names)


def test_a_directory_of_one_runtime_is_read_by_another(
    environment: dict[str, str], tmp_path: Path
) -> None:
    writer, reader = by_pkg_config(tmp_path), by_ctypes(tmp_path)
    folder = str(tmp_path / "journal")
    begun = subprocess.Popen(
        [*writer, "begin", folder], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert begun.stdout is not None
    task = begun.stdout.readline().split()[1]
    begun.kill()
    begun.communicate(timeout=TIMEOUT_S)
    ran = subprocess.run(
        [*reader, "resume", folder, task], capture_output=True, text=True, env=environment
    )
    assert ran.stdout == "ok\n", ran.stderr


def test_no_exception_leaves_the_library_and_the_host_is_told(tmp_path: Path) -> None:
    program = str(tmp_path / "panic")
    source = str(HERE / "panic.cpp")
    run([tool("c++", "g++"), "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", source, "-o",
         program, *flags()])  # fmt: skip
    assert run([program]) == "ok\n"


def test_the_library_brings_its_own_c_plus_plus_and_shows_none_of_it() -> None:
    library = str(library_folder() / "libhanse.so.0")
    needed = run([tool("readelf"), "-d", library])
    assert "libhanse.so.0" in needed
    assert "libstdc++" not in needed


@pytest.mark.parametrize("way", [by_pkg_config, by_rust, by_node, by_ctypes])
def test_each_operation_of_the_bench_runs(
    way: Callable[[Path], Program], environment: dict[str, str], tmp_path: Path
) -> None:
    program = way(tmp_path)
    for operation in ("open", "publish", "match", "talk", "dispatch"):
        ran = subprocess.run(
            [*program, "bench", operation, "5"], capture_output=True, text=True, env=environment
        )
        assert ran.returncode == 0, f"{operation}: {ran.stderr}"
        assert float(ran.stdout) > 0
