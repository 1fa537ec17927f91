"""hwsim: simulate a sparse accelerator, generate its Verilog, prove them equal, sweep the space.

Public names load on first use, so `import hwsim` costs nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "Result": "hwsim.result",
    "generate": "hwsim.api",
    "load_config": "hwsim.config",
    "simulate": "hwsim.api",
    "sweep": "hwsim.api",
}

__all__ = ["Result", "__version__", "generate", "load_config", "simulate", "sweep"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'hwsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Keeps the functions `generate` and `sweep` from being hidden by the modules of their names.

    Loading a submodule sets it as an attribute of its package; `hwsim.sweep(...)` worked once and
    then called a module. `from hwsim.sweep import run_sweep` is not affected.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _LAZY and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
