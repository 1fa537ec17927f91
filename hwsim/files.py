"""Writing results so that a full disk, a crash or Ctrl-C never harms what is already there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from hwsim.errors import UserError

__all__ = ["make_folder", "write_bytes", "write_text", "write_with"]


def make_folder(folder: str | Path) -> Path:
    """The folder, made if it is not there.

    Raises:
        UserError: it cannot be made or is a file.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path}: {error.strerror}") from None
    return path


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text; see `write_with`."""
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write bytes; see `write_with`."""

    def write(handle: IO[bytes]) -> None:
        handle.write(data)

    write_with(path, write)


def write_with(path: str | Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write to a temporary file beside `path`, then rename it there.

    The old content stays until the new one is whole and on disk.

    Raises:
        UserError: the folder is not writable or the disk is full.
    """
    target = Path(path)
    temporary: str | None = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as handle:
            temporary = handle.name
            write(handle)
            handle.flush()
            os.fsync(handle.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise UserError(f"cannot write {target}: {error.strerror or error}") from None
