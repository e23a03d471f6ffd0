"""One self-contained HTML page per run or study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qrdistill.report.page import write_report as write_report
    from qrdistill.report.study import write_study_report as write_study_report

__all__ = ["write_report", "write_study_report"]

_HOME = {"write_report": "page", "write_study_report": "study"}


def __getattr__(name: str) -> Any:
    """Loads the page's makers (jinja2, matplotlib) when they are first used."""
    import importlib

    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
