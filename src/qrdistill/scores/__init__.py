"""What the trained students know: answers, accuracies with intervals, ensembles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qrdistill.scores.answering import evaluate as evaluate
    from qrdistill.scores.comparing import compare as compare
    from qrdistill.scores.comparing import compare_seeds as compare_seeds
    from qrdistill.scores.scoring import score as score

__all__ = ["compare", "compare_seeds", "evaluate", "score"]

_HOME = {"compare": "comparing", "compare_seeds": "comparing", "evaluate": "answering", "score": "scoring"}


def __getattr__(name: str) -> Any:
    """Loads a verb when it is first used: importing the settings beside it stays instant."""
    import importlib

    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
