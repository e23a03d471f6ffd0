"""One copy of a base's weights for all students that leave them as they are: adapters on one base, and frozen ones.

Each student keeps modules of its own (its adapters, its mode, its attention, its hooks); only the tensors of the base
are the same objects. So nothing has to be switched from student to student, and whatever is done with one student's
model (a checkpoint, an export, a merge, which copies first) is what it would be with a base of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import Any


class Bases:
    """The bases that were loaded for these students; weights stay as long as a student, or this, holds them."""

    def __init__(self) -> None:
        self._loaded: dict[Hashable, Any] = {}

    def twin(self, key: Hashable, load: Callable[[], Any]) -> Any:
        """A model with the weights of the base `key`, which is loaded once. Its tensors are not to be written to."""
        if key not in self._loaded:
            self._loaded[key] = load()
        return twin(self._loaded[key])


def twin(model: Any) -> Any:
    """Other modules, the same parameters; what bitsandbytes keeps beside four-bit weights included."""
    same: list[Any] = list(model.parameters())
    same += [state for module in model.modules() if (state := getattr(module, "quant_state", None)) is not None]
    return copy.deepcopy(model, {id(one): one for one in same})
