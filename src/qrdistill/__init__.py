"""qrdistill: distil what a strong LLM can reason into small models that anyone can run.

`run` takes a config through all stages and returns a `Run` to read it by. Both are loaded on first use, so that
importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qrdistill.base.threads import set_thread_defaults

if TYPE_CHECKING:
    from qrdistill.runs.config import Config as Config
    from qrdistill.runs.load_config import load_config as load_config
    from qrdistill.runs.pipeline import run as run
    from qrdistill.runs.run import Run as Run

__version__ = "0.1.0"
__all__ = ["Config", "Run", "__version__", "load_config", "run"]

set_thread_defaults()  # torch reads them when it is imported, which is later than this

_HOME = {"run": "runs.pipeline", "Run": "runs.run", "Config": "runs.config", "load_config": "runs.load_config"}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'qrdistill' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"qrdistill.{_HOME[name]}"), name)
