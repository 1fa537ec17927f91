"""Matrix Market files, plain or gzip: read to the letter, or refused with one sentence.

Format: R. F. Boisvert, R. Pozo, K. Remington, "The Matrix Market Exchange Formats: Initial Design",
NISTIR 5935, 1996, and the banner, sizes and orders of math.nist.gov/MatrixMarket/formats.html.
`scipy.io.mmread` is not used: SciPy 1.17 reads `1 1.5 3` as column 1 with value 0.5, `1d3` as 1 and
`1 1 3 4` as 3, and some damaged files end the process. `numpy.loadtxt` parses a token wholly or
fails.

Beyond the format: a `%%GraphBLAS type` line, where there is one, binds the values (LAGraph writes
it); symmetric and skew-symmetric files store the lower triangle and nothing above it; duplicates
are summed in file order; explicit zeros are dropped unless asked for, as the counts that public
tools report do. What was summed or dropped is in the notes.
"""

from __future__ import annotations

import gzip
import io
import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.models.sparse import Csr

__all__ = ["MAX_ENTRIES", "MAX_ROWS", "MarketFile", "read_market", "read_matrix"]

MAX_ENTRIES = (1 << 31) - 1
"""Most entries a file may hold, mirrored ones included."""

MAX_ROWS = 1 << 29
"""Most rows, and most columns of a symmetric file: 4 GiB of row pointers. Not given; chosen so
that a wrong size line is a sentence and not an exhausted memory."""

_EXACT = 1 << 53  # integers up to here are exact in float64
_LINE_LIMIT = 1 << 16  # a longer header line is no header; the format allows 1024 characters
_FORMATS = ("coordinate", "array")
_FIELDS = ("real", "integer", "pattern", "complex")
_SYMMETRIES = ("general", "symmetric", "skew-symmetric", "hermitian")
_INTEGER = re.compile(rb"[+-]?[0-9]+")
_REAL = re.compile(
    rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf(inity)?|nan)", re.I
)
_GRAPHBLAS = {
    "bool": (0, 1),
    **{f"int{b}": (-(1 << (b - 1)), (1 << (b - 1)) - 1) for b in (8, 16, 32, 64)},
    **{f"uint{b}": (0, (1 << b) - 1) for b in (8, 16, 32, 64)},
    "float": None,
    "double": None,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class MarketFile:
    """What a file held.

    Attributes:
        matrix: float64 values, integers exact; the symmetric part filled in.
        duplicates: entries of the file that repeat a position, summed into one.
        explicit_zeros: entries of value 0 after that, mirrored ones not counted.
        notes: a sentence on each of the two that is not 0.
    """

    matrix: Csr
    duplicates: int
    explicit_zeros: int
    notes: tuple[str, ...]


def read_matrix(path: str | Path, *, explicit_zeros: Literal["drop", "keep"] = "drop") -> Csr:
    """The matrix of `read_market`, for who needs no notes.

    Raises:
        ValueError: as `read_market`.
    """
    return read_market(path, explicit_zeros=explicit_zeros).matrix


def read_market(
    path: str | Path, *, explicit_zeros: Literal["drop", "keep"] = "drop"
) -> MarketFile:
    """Reads a file; gzip is recognised by its first bytes, not by its name.

    Args:
        path: of the file.
        explicit_zeros: whether entries of value 0 go or stay.

    Raises:
        ValueError: it cannot be opened, is not of the format, or is of a kind not supported
            (complex, hermitian, 2^31 entries). One sentence: file, line, rule and what was found.
    """
    if explicit_zeros not in ("drop", "keep"):
        raise ValueError(f'explicit_zeros is "drop" or "keep", but got {explicit_zeros!r}')
    path = Path(path)
    try:
        with _open(path) as stream:
            head = _header(path, stream)
            table = _body(path, head, stream)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a directory, not a Matrix Market file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: the gzip data is damaged or truncated ({error})") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise ValueError(f"{path}: its entries do not fit the memory of this machine") from None
    stored, mirrored = _assemble(path, head, table)
    duplicates = len(table) - stored.nnz
    zeros = int(np.count_nonzero(stored.data == 0))
    notes = []
    if duplicates:
        notes.append(f"{path.name}: {duplicates} duplicate entries summed")
    if zeros:
        done = "dropped" if explicit_zeros == "drop" else "kept"
        notes.append(f"{path.name}: {zeros} explicit zeros {done}")
    return MarketFile(
        matrix=mirrored.drop_zeros() if explicit_zeros == "drop" else mirrored,
        duplicates=duplicates,
        explicit_zeros=zeros,
        notes=tuple(notes),
    )


class _Header(NamedTuple):
    array: bool
    field: str
    symmetry: str
    declared: str | None  # the GraphBLAS type
    rows: int
    cols: int
    entries: int
    line: int  # of the sizes; entries follow

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Name and NumPy type of the tokens of an entry."""
        value = {"real": (("v", "f8"),), "integer": (("v", "i8"),), "pattern": ()}[self.field]
        return value if self.array else (("i", "i8"), ("j", "i8"), *value)


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def _header(path: Path, stream: BinaryIO) -> _Header:
    array, field, symmetry = _banner(path, stream.readline(_LINE_LIMIT))
    declared, number = None, 1
    while True:
        raw, number = stream.readline(_LINE_LIMIT), number + 1
        if not raw:
            raise ValueError(f"{path} is truncated: it ends at line {number} without its sizes")
        if raw.startswith(b"%%GraphBLAS type"):
            declared = _declared(path, number, raw)
        if raw.strip() and not raw.startswith(b"%"):
            break
    words = raw.split()
    wanted = ("rows", "columns") if array else ("rows", "columns", "entries")
    if len(words) != len(wanted) or not all(_INTEGER.fullmatch(word) for word in words):
        raise ValueError(
            f"{path}, line {number}: the sizes are {len(wanted)} integers "
            f"({', '.join(wanted)}), but got {_shown(raw)}"
        )
    rows, cols, *rest = (int(word) for word in words)
    if min(rows, cols, *rest) < 0:
        raise ValueError(
            f"{path}, line {number}: sizes must not be negative, but got {_shown(raw)}"
        )
    if symmetry != "general" and rows != cols:
        raise ValueError(
            f"{path}, line {number}: a {symmetry} matrix is square, but got {rows} x {cols}"
        )
    if rows > MAX_ROWS or cols >= 1 << 62 or (symmetry != "general" and cols > MAX_ROWS):
        raise ValueError(
            f"{path}, line {number}: at most {MAX_ROWS} rows are supported, but got {rows} x {cols}"
        )
    if array:
        triangle = {"general": rows * cols, "symmetric": rows * (rows + 1) // 2}
        entries = triangle.get(symmetry, rows * (rows - 1) // 2)
    else:
        entries = rest[0]
    mirrored = entries * (1 if symmetry == "general" else 2)
    if mirrored - (rows if symmetry == "symmetric" else 0) > MAX_ENTRIES:
        raise ValueError(
            f"{path}, line {number}: at most 2^31 - 1 entries are supported, but the file "
            f"asks for {entries}{'' if mirrored == entries else ' and their mirror images'}"
        )
    return _Header(array, field, symmetry, declared, rows, cols, entries, number)


def _banner(path: Path, raw: bytes) -> tuple[bool, str, str]:
    words = raw.split()
    if not words or words[0].lower() != b"%%matrixmarket":
        raise ValueError(
            f"{path}, line 1: a Matrix Market file begins with %%MatrixMarket, "
            f"but got {_shown(raw)}"
        )
    text = [word.decode("ascii", "replace").lower() for word in words[1:]]
    if len(text) != 4:
        raise ValueError(
            f"{path}, line 1: the banner is %%MatrixMarket matrix FORMAT FIELD SYMMETRY, "
            f"but got {_shown(raw)}"
        )
    for word, known in zip(text, (("matrix",), _FORMATS, _FIELDS, _SYMMETRIES), strict=True):
        if word not in known:
            raise ValueError(f"{path}, line 1: {word!r} is not one of {', '.join(known)}")
    _, form, field, symmetry = text
    if field == "complex" or symmetry == "hermitian":
        which = "hermitian" if symmetry == "hermitian" else "complex"
        raise ValueError(f"{path}, line 1: {which} matrices are not supported, only real ones")
    if field == "pattern" and (form == "array" or symmetry == "skew-symmetric"):
        other = "array" if form == "array" else symmetry
        raise ValueError(f"{path}, line 1: the format has no {other} matrix of field pattern")
    return form == "array", field, symmetry


def _declared(path: Path, number: int, raw: bytes) -> str:
    name = raw.decode("ascii", "replace").split("type", 1)[1].strip()
    name = name.removesuffix("_t")
    if name not in _GRAPHBLAS:
        raise ValueError(
            f"{path}, line {number}: the GraphBLAS type must be one of "
            f"{', '.join(_GRAPHBLAS)}, but got {name!r}"
        )
    return name


def _body(path: Path, head: _Header, stream: BinaryIO) -> NDArray[Any]:
    """The entries as the file has them: a record array with i, j (from 1) and v, where stored."""
    dtype = np.dtype(list(head.columns))
    if head.entries == 0:
        table = np.zeros(0, dtype)
        if any(line.strip() for line in stream):
            raise ValueError(f"{path}: the sizes ask for no entries, but more lines follow")
        return table
    text = io.TextIOWrapper(stream, encoding="ascii", newline="\n")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")
            warnings.filterwarnings("error", category=DeprecationWarning)  # 1.0 as an integer
            table = np.loadtxt(text, dtype=dtype, comments=None, ndmin=1)
    except UnicodeDecodeError:
        raise ValueError(_fault(path, head, "a byte that is not ASCII")) from None
    except (ValueError, DeprecationWarning, OverflowError) as error:
        raise ValueError(_fault(path, head, str(error))) from None
    finally:
        text.detach()
    if len(table) != head.entries:
        what = "is truncated" if len(table) < head.entries else "has lines too many"
        raise ValueError(
            f"{path} {what}: its sizes say {head.entries} entries, but it holds {len(table)}"
        )
    return table


def _assemble(path: Path, head: _Header, table: NDArray[Any]) -> tuple[Csr, Csr]:
    """The entries stored, duplicates summed; and the whole matrix."""
    if head.array:
        i, j = _array_positions(head)
    else:
        i, j = table["i"] - 1, table["j"] - 1
        for name, index, limit in (("row", i, head.rows), ("column", j, head.cols)):
            wrong = (index < 0) | (index >= limit)
            _refuse(path, head, wrong, f"1 <= {name} <= {limit} must hold", index + 1)
        if head.symmetry == "symmetric":
            rule = "a symmetric file stores row >= column"
            _refuse(path, head, j > i, rule, None)
    values = table["v"] if head.field != "pattern" else np.ones(len(table))
    if head.field == "real":
        _refuse(path, head, ~np.isfinite(values), "values must be finite", values)
    elif head.field == "integer":
        # Not abs(): that of -2^63 is itself.
        wide = (values > _EXACT) | (values < -_EXACT)
        _refuse(path, head, wide, "integers up to 2^53 are supported", values)
    if head.symmetry == "skew-symmetric" and not head.array:
        # SciPy writes zeros of the diagonal into such files; they contradict nothing.
        rule = "a skew-symmetric file stores row > column"
        _refuse(path, head, (j > i) | (j == i) & (values != 0), rule, None)
    limits = _GRAPHBLAS.get(head.declared or "double")
    if limits is not None:
        rule = f"values of GraphBLAS type {head.declared} lie in {limits[0]}..{limits[1]}"
        _refuse(path, head, (values < limits[0]) | (values > limits[1]), rule, values)
        if limits[0] == 0 and head.symmetry == "skew-symmetric":
            raise ValueError(
                f"{path}: a skew-symmetric matrix has negative values, "
                f"but its GraphBLAS type is {head.declared}"
            )
    shape = (head.rows, head.cols)
    stored = Csr.from_coo(shape, i, j, values.astype(np.float64))
    if head.symmetry == "general":
        return stored, stored
    below = stored.rows != stored.indices
    rows, cols, data = stored.rows[below], stored.indices[below], stored.data[below]
    sign = -1.0 if head.symmetry == "skew-symmetric" else 1.0
    mirrored = Csr.from_coo(
        shape,
        np.r_[stored.rows, cols],
        np.r_[stored.indices, rows],
        np.r_[stored.data, sign * data],
    )
    return stored, mirrored


def _array_positions(head: _Header) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of an array file's values: column after column, the triangle if symmetric."""
    if head.symmetry == "general":
        at = np.arange(head.entries)
        return at % max(head.rows, 1), at // max(head.rows, 1)
    offset = 0 if head.symmetry == "symmetric" else 1
    first = np.arange(head.cols) + offset
    lengths = np.maximum(head.rows - first, 0)
    j = np.repeat(np.arange(head.cols), lengths)
    start = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.arange(head.entries) - start + j + offset, j


def _refuse(
    path: Path,
    head: _Header,
    wrong: NDArray[np.bool_],
    rule: str,
    values: NDArray[Any] | None,
) -> None:
    """Raises on the first entry that breaks a rule, naming its line."""
    if not wrong.any():
        return
    entry = int(np.flatnonzero(wrong)[0])
    for at, (number, raw) in enumerate(_entry_lines(path, head)):
        if at == entry:
            got = _shown(raw) if values is None else f"{values[entry]}"
            raise ValueError(f"{path}, line {number}: {rule}, but got {got}")
    raise ValueError(f"{path}, entry {entry + 1}: {rule}")  # the file changed under us


def _fault(path: Path, head: _Header, otherwise: str) -> str:
    """The sentence on the first line that is no entry; `otherwise` is what the parser said."""
    columns = head.columns
    kinds = {"i": "a row", "j": "a column", "v": f"a value of field {head.field}"}
    wanted = ", ".join(kinds[name] for name, _ in columns)
    for number, raw in _entry_lines(path, head):
        words = raw.split()
        good = len(words) == len(columns) and all(
            (_REAL if kind == "f8" else _INTEGER).fullmatch(word)
            and (kind == "f8" or -(1 << 63) <= int(word) < 1 << 63)
            for word, (_, kind) in zip(words, columns, strict=True)
        )
        if not good:
            return f"{path}, line {number}: an entry is {wanted}, but got {_shown(raw)}"
    return f"{path}: an entry is {wanted}, but the parser found: {otherwise}"


def _entry_lines(path: Path, head: _Header) -> Iterator[tuple[int, bytes]]:
    """Number and text of every line that is not blank, after the sizes."""
    with _open(path) as stream:
        for number, raw in enumerate(stream, 1):
            if number > head.line and raw.strip():
                yield number, raw


def _shown(raw: bytes) -> str:
    """A line as a message shows it: quoted, at most 60 characters."""
    text = raw.strip()
    return repr(text if len(text) <= 60 else text[:57] + b"...")[1:]
