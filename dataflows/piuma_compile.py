"""How the kernels of the PIUMA machine are compiled."""

from __future__ import annotations

from typing import Any

from numba import njit

__all__ = ["compiled", "inlined"]

_njit: Any = njit  # the option is not among its declared ones

inlined = _njit(cache=True, _nrt=False, forceinline=True)
"""The same for the hot helpers, which LLVM inlines whatever their size."""

compiled = _njit(cache=True, _nrt=False)
"""Numba without reference counts: kernels here allocate nothing, and counting what a record of
arrays holds at every call took more time than the machine's steps."""
