"""The peers as contenders of a case: each sample is a process of its own that prints its figure."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.case import Peer, Sample, Settings

HERE = Path(__file__).parent
TIMEOUT_S = 300
ROUNDS = 3  # of a process that starts anew each time


@dataclass(frozen=True)
class Runtime:
    """A peer and the sizes that it bears: many need seconds for what others do in a millisecond."""

    name: str
    module: str  # of this package, or the source file to be compiled
    requires: str  # the module that must be installed, or the tool
    agents_max: int
    messages_max: int
    quick_agents: int = 100
    quick_messages: int = 400
    storm_agents_max: int = 1_000_000  # where each holds the addresses of all


RUNTIMES = (
    Runtime("asyncio.Queue", "asyncio_queue", "asyncio", 100_000, 200_000),
    Runtime("AutoGen core", "autogen_core", "autogen_core", 10_000, 10_000),
    Runtime("Ray, 4 actors", "ray_actors", "ray", 4, 1_000),
    Runtime("pykka", "pykka_actors", "pykka", 1_000, 10_000),
    Runtime("pyzmq inproc", "zmq_inproc", "zmq", 4_000, 20_000),
    Runtime("CAF (C++)", "caf_actors.cpp", "/usr/include/caf/all.hpp", 1_000_000, 1_000_000),
    Runtime("Erlang", "erlang_processes.erl", "erlc", 100_000, 1_000_000, storm_agents_max=10_000),
)


def runtimes(
    shape: str, settings: Settings, agents: int, count: int, scale: float = 1.0
) -> list[Peer]:
    """Every runtime on this shape, its figure divided by `scale`, at the size asked for or the
    largest that it bears, which its name says. One that is not installed is named as missing."""
    return [_peer(runtime, shape, settings, agents, count, scale) for runtime in RUNTIMES]


def _peer(
    runtime: Runtime, shape: str, settings: Settings, agents: int, count: int, scale: float
) -> Peer:
    if settings.quick:
        agents, count = min(agents, runtime.quick_agents), min(count, runtime.quick_messages)
    agents, count = min(agents, runtime.agents_max), min(count, runtime.messages_max)
    if shape == "storm":
        agents = min(agents, runtime.storm_agents_max)
    name = f"{runtime.name} ({agents:,} agents)"
    command = _command(runtime, settings.directory)
    if command is None:
        return Peer(runtime.name, None)
    if runtime.module.endswith((".cpp", ".erl")):
        full = [*command, shape, str(agents), str(count)]
    else:
        full = [*command, shape, "--agents", str(agents), "--count", str(count)]
    return Peer(name, _sample(full, scale), rounds=ROUNDS)


def _sample(command: list[str], scale: float) -> Sample:
    def run() -> float:
        environment = {**os.environ, "RAY_DISABLE_IMPORT_WARNING": "1"}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment, check=False
        )
        lines = done.stdout.split()
        if done.returncode != 0 or not lines:
            raise RuntimeError(f"{command}: {done.stderr[-2000:]}")
        return float(lines[-1]) / scale

    return run


def _command(runtime: Runtime, directory: Path) -> list[str] | None:
    if runtime.module.endswith(".cpp"):
        return _compiled_caf(runtime, directory)
    if runtime.module.endswith(".erl"):
        return _compiled_erlang(runtime, directory)
    if importlib.util.find_spec(runtime.requires) is None:
        return None
    return [sys.executable, "-m", f"bench.mailbox_peers.{runtime.module}"]


def _compiled_caf(runtime: Runtime, directory: Path) -> list[str] | None:
    compiler, program = shutil.which("g++"), directory / "caf_actors"
    if compiler is None or not Path(runtime.requires).exists():
        return None
    if not program.exists():
        options = ["-std=c++17", "-O2", "-DNDEBUG", "-w", "-o", str(program)]
        source = str(HERE / runtime.module)
        built = subprocess.run(
            [compiler, source, *options, "-lcaf_core", "-lpthread"],
            capture_output=True,
            check=False,
        )
        if built.returncode != 0:  # another generation of CAF than the 0.17 that it is written for
            return None
    return [str(program)]


def _compiled_erlang(runtime: Runtime, directory: Path) -> list[str] | None:
    compiler, machine = shutil.which("erlc"), shutil.which("erl")
    if compiler is None or machine is None:
        return None
    if not (directory / "erlang_processes.beam").exists():
        subprocess.run([compiler, "-o", str(directory), str(HERE / runtime.module)], check=True)
    return [machine, "-noshell", "-pa", str(directory), "-run", "erlang_processes", "main"]
