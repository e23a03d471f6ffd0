"""Which paths are sound enough to train on: checks, judges, and the account of every path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qrdistill.verdicts.counts import FilterCounts as FilterCounts
    from qrdistill.verdicts.filter import filter_paths as filter_paths

__all__ = ["FilterCounts", "filter_paths"]

_HOME = {"FilterCounts": "counts", "filter_paths": "filter"}


def __getattr__(name: str) -> Any:
    """Loads a verb when it is first used: importing the settings beside it stays instant."""
    import importlib

    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
