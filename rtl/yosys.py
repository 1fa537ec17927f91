"""Runs Yosys scripts and other tools as processes of their own, with a time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from importlib import util
from pathlib import Path

from hwsim.errors import UserError

__all__ = ["package_folder", "run_process", "run_python", "run_yosys", "search_path"]

# Run first by a tool's process, so that a killed command leaves none behind (PR_SET_PDEATHSIG).
_DIE_WITH_PARENT = "import ctypes, sys; sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 9)\n"
_YOSYS = (
    "import sys; from pyosys import libyosys as yosys; "
    "yosys.run_pass('script ' + sys.argv[1], yosys.Design())"
)


def run_yosys(script: str, work: Path, timeout_s: float) -> None:
    """Run a Yosys script in a folder.

    Args:
        script: the commands; kept there as `script.ys`.
        work: the folder.
        timeout_s: seconds at most.

    Raises:
        UserError: pyosys is not installed.
        RuntimeError: Yosys refused something or took too long; the message ends with what it said.
    """
    package_folder("pyosys", "pyosys")
    (work / "script.ys").write_text(script, encoding="utf-8")
    status, said = run_python(_YOSYS, ["script.ys"], work, timeout_s)
    if status != 0:
        why = f"took more than {timeout_s:g} s" if status is None else "failed"
        raise RuntimeError(f"Yosys {why}:\n{said[-2000:]}")


def run_python(
    program: str, arguments: Sequence[str], work: Path, timeout_s: float
) -> tuple[int | None, str]:
    """Run a Python program; as `run_process`."""
    command = [sys.executable, "-c", _DIE_WITH_PARENT + program, *arguments]
    return run_process(command, work, timeout_s)


def run_process(command: Sequence[str], work: Path, timeout_s: float) -> tuple[int | None, str]:
    """Run in a process group of its own: status, None after a timeout, and what it said."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=work,
            env=os.environ | {"PATH": search_path()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(timeout_s)
        finally:  # after Ctrl-C too; tools have children of their own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return status, output.read().decode(errors="replace")


def package_folder(module: str, package: str) -> Path:
    """Where an installed package's files are.

    Raises:
        UserError: it is not installed.
    """
    spec = util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(f"this needs {package}: pip install 'hwsim[fpga]'")
    return Path(spec.origin).parent


def search_path() -> str:
    """Where programs are looked for: beside the interpreter first, as wheels put them there."""
    return os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
