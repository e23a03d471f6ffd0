"""The methods that come with this package, one file each: names of the registry's group `methods`."""

from __future__ import annotations

from collections.abc import Sequence

from qrdistill.base.plugins import registry
from qrdistill.training.method import MethodFactory
from qrdistill.training.plan import TrainPlan


def chosen_methods(plan: TrainPlan, asked: Sequence[MethodFactory | str] | None) -> list[MethodFactory]:
    """Those that are asked for, here or in the config; without any, routed imitation, and mutual distillation where it
    has a weight."""
    asked = asked or plan.train.methods
    if not asked:
        mutual = plan.mutual.weight > 0 and len(plan.students) > 1
        asked = ["routed_imitation", *(["hidden_agreement"] if mutual else [])]
    return [registry.find("methods", method) if isinstance(method, str) else method for method in asked]
