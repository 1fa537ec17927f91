"""Writing results so that a full disk, a crash or Ctrl-C never harms what is already there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import IO

from hwsim.errors import UserError

__all__ = ["make_folder", "write_all", "write_bytes", "write_text", "write_with"]


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
    write_with(path, partial(_put, data))


def write_with(path: str | Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write to a temporary file beside `path`, then rename it there.

    The old content stays until the new one is whole and on disk.

    Raises:
        UserError: the folder is not writable or the disk is full.
    """
    target = Path(path)
    staged: list[Path] = []
    try:
        _stage(target, write, staged)
        staged[0].replace(target)
        del staged[0]
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from None
    finally:  # after Ctrl-C too
        _discard(staged)


def write_all(folder: str | Path, files: Mapping[str, bytes], remove: Iterable[str] = ()) -> None:
    """Write files that belong together: all are on disk before the first one is renamed.

    So a full disk leaves the old set as it was, not a mix of old and new. (A machine that stops
    between two renames may still leave one; they need no space and follow each other at once.)

    Args:
        folder: where.
        files: content by file name.
        remove: names that this set replaces with nothing; deleted last.

    Raises:
        UserError: the folder is not writable or the disk is full.
    """
    path = Path(folder)
    staged: list[Path] = []
    target = path
    try:
        for name, data in files.items():
            target = path / name
            _stage(target, partial(_put, data), staged)
        for name in files:
            target = path / name
            staged[0].replace(target)
            del staged[0]
        for name in remove:
            target = path / name
            target.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from None
    finally:  # after Ctrl-C too
        _discard(staged)


def _put(data: bytes, handle: IO[bytes]) -> None:
    handle.write(data)


def _stage(target: Path, write: Callable[[IO[bytes]], object], staged: list[Path]) -> None:
    """Write a temporary file beside `target`, flushed to disk; add it to `staged`."""
    with tempfile.NamedTemporaryFile(
        dir=target.parent, prefix=f".{target.name}.", delete=False
    ) as handle:
        staged.append(Path(handle.name))
        write(handle)
        handle.flush()
        os.fsync(handle.fileno())
    staged[-1].chmod(0o644)


def _discard(staged: list[Path]) -> None:
    for temporary in staged:
        temporary.unlink(missing_ok=True)
