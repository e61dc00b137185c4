"""Where the CUDA compiler and the readers of what it made lie: a toolkit's or those of the wheels.

`python tests/cuda/toolkit.py` prints the compiler's path, or says what is missing and fails.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path


@cache
def tool(name: str) -> Path | None:
    """A program: what CUDACXX names (nvcc alone), the wheels' of this environment, the PATH's."""
    if name == "nvcc" and (named := os.environ.get("CUDACXX")):
        return Path(named)
    # The wheels put their programs off the PATH.
    bases = dict.fromkeys([sysconfig.get_path("purelib"), *sys.path])
    folders = [str(path) for base in bases for path in sorted(Path(base).glob("nvidia/cu13/bin"))]
    found = shutil.which(name, path=os.pathsep.join(folders)) or shutil.which(name)
    return Path(found) if found else None


@cache
def headers() -> tuple[Path, ...]:
    """The compiler's own folders of headers. It is asked, since what lies on the PATH may be a
    script or a link that stands elsewhere."""
    nvcc = tool("nvcc")
    assert nvcc is not None
    asked = subprocess.run(
        [nvcc, "--dryrun", "-c", "none.cu"], capture_output=True, text=True, check=True
    )
    lines = [line for line in asked.stderr.splitlines() if "INCLUDES=" in line]
    folders = [found for line in lines for found in re.findall(r'"(?:-I)?(/[^"]*)"', line)]
    return tuple(Path(folder) for folder in folders if (Path(folder)).is_dir())


def compile_with_nvcc(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs nvcc; a failure is its own text."""
    nvcc = tool("nvcc")
    assert nvcc is not None
    made = subprocess.run([nvcc, *words], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return made


if __name__ == "__main__":
    missing = [name for name in ("nvcc", "cuobjdump", "nvdisasm") if tool(name) is None]
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)}; pip install the extras of pyproject.toml")
    print(tool("nvcc"))
