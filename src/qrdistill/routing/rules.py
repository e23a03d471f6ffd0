"""Assignment rules: what a learned router has to beat, each behind the same protocol.

Tensor suffixes: N paths of the pool, B paths of one step, S students, T styles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qrdistill.base.draws import seed_of, uniform
from qrdistill.base.errors import ConfigError
from qrdistill.base.plugins import registry
from qrdistill.routing.config import RouterConfig
from qrdistill.routing.gates import Assigner, DevAccuracy, Factory, Gates, Pool, Request
from qrdistill.routing.loss_ledger import Ledger


class _Rule:
    """What rules share: a table of who may be given what, filled by `prepare`, nothing that trains."""

    def __init__(self, pool: Pool, config: RouterConfig, num_features: int) -> None:
        self._pool, self._config = pool, config
        self.table_NS = torch.ones(len(pool.path_ids), len(pool.students), dtype=torch.bool)

    def prepare(self, ledger: Ledger) -> None: ...

    def eligible_N(self) -> NDArray[np.bool_]:
        return self.table_NS.any(1).numpy()

    def gates(self, request: Request) -> Gates:
        return _constant(self.table_NS[torch.from_numpy(request.rows_B)])

    def observe(self, accuracy: DevAccuracy) -> None: ...

    def parameters(self) -> list[torch.nn.Parameter]:
        return []

    def state_dict(self) -> dict[str, Tensor]:
        return {"table": self.table_NS}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.table_NS = state["table"].bool()


class All(_Rule):
    """Every student reads every path: multi-path distillation without routing."""


class Random(_Rule):
    """One student per path and step, each equally likely."""

    def gates(self, request: Request) -> Gates:
        names = self._pool.students
        picks = [
            int(uniform(self._pool.seed, "random", self._pool.path_ids[row], request.step) * len(names))
            for row in request.rows
        ]
        return _constant(torch.nn.functional.one_hot(torch.tensor(picks), len(names)).bool())


class ByStyle(_Rule):
    """A hand-made split: `router.styles` maps style -> student; other styles go round robin."""

    def prepare(self, ledger: Ledger) -> None:
        names = self._pool.students
        target = dict(self._config.styles)
        for style, student in target.items():
            _known_student(student, names, f"router.styles.{style}")
        rest = sorted(set(self._pool.styles) - set(target))
        target |= {style: names[index % len(names)] for index, style in enumerate(rest)}
        self.table_NS = torch.tensor([[target[style] == name for name in names] for style in self._pool.styles])


class FixedLoss(_Rule):
    """The base students' losses decide once: lowest z-score per student wins.

    z-scored per student, so that the stronger student does not take everything.
    """

    def prepare(self, ledger: Ledger) -> None:
        relative_NS = _comparative(_measure_base(self._pool, ledger))
        self.table_NS = torch.nn.functional.one_hot(relative_NS.argmin(1), relative_NS.shape[1]).bool()


class Balanced(_Rule):
    """Comparative loss with capacity, by linear sum assignment.

    Per step, the assignment of least total z-score in which no student gets more than ceil(B / S)
    paths. The losses are the ledger's: measured once with the base students, then renewed by
    training itself.
    """

    def prepare(self, ledger: Ledger) -> None:
        _measure_base(self._pool, ledger)

    def gates(self, request: Request) -> Gates:
        from scipy.optimize import linear_sum_assignment

        cost_BS = request.ledger.relative_NS[torch.from_numpy(request.rows_B)].numpy()
        num_paths, num_students = cost_BS.shape
        capacity = math.ceil(num_paths / num_students)
        rows, columns = linear_sum_assignment(np.repeat(cost_BS, capacity, axis=1))
        chosen_BS = torch.zeros(num_paths, num_students, dtype=torch.bool)
        chosen_BS[torch.from_numpy(rows), torch.from_numpy(columns // capacity)] = True
        return _constant(chosen_BS)


class BestStyle(_Rule):
    """Each student reads one style only, its best.

    That of `router.styles` (student -> style), or the one in which the base student answers dev
    questions best (`students.best_style`). Paths of a style that nobody reads are not drawn.
    """

    def prepare(self, ledger: Ledger) -> None:
        names = self._pool.students
        styles = sorted(set(self._pool.styles))
        for student, style in self._config.styles.items():
            _known_student(student, names, f"router.styles.{student}")
            if style not in styles:
                raise ConfigError(
                    f"no path of style {style!r} is left after filtering; there are: {', '.join(styles)}",
                    key=f"router.styles.{student}",
                )
        best = dict(self._config.styles)
        if set(best) != set(names):
            best = {**self._pool.best_styles(), **best}
        self.table_NS = torch.tensor([[best[name] == style for name in names] for style in self._pool.styles])


class Bandit(_Rule):
    """Dev accuracy per style and student decides, with Thompson sampling.

    A path goes to the student whose sampled accuracy in its style stands highest above that
    student's own mean over styles. Evidence is a Beta posterior; every dev evaluation while
    training (`train.eval_every`) halves the weight of what was known before.
    """

    def __init__(self, pool: Pool, config: RouterConfig, num_features: int) -> None:
        super().__init__(pool, config, num_features)
        self._styles = sorted(set(pool.styles))
        self._index = {style: index for index, style in enumerate(self._styles)}
        # pseudo-counts of right and wrong answers; what one evaluation is worth, whatever its size
        self.counts_2ST = torch.zeros(2, len(pool.students), len(self._styles), dtype=torch.float64)

    def prepare(self, ledger: Ledger) -> None:
        self.observe(self._pool.dev_accuracy())

    def observe(self, accuracy: DevAccuracy) -> None:
        right_ST = torch.tensor(
            [[accuracy[name].get(style, 0.0) for style in self._styles] for name in self._pool.students],
            dtype=torch.float64,
        )
        self.counts_2ST = 0.5 * self.counts_2ST + 20 * torch.stack([right_ST, 1 - right_ST])

    def gates(self, request: Request) -> Gates:
        generator = np.random.default_rng(seed_of(self._pool.seed, "bandit", request.step))
        right_ST, wrong_ST = self.counts_2ST.numpy()
        sampled_ST = generator.beta(right_ST + 1, wrong_ST + 1)
        advantage_ST = torch.from_numpy(sampled_ST - sampled_ST.mean(1, keepdims=True))
        columns = torch.tensor([self._index[self._pool.styles[row]] for row in request.rows])
        picks_B = advantage_ST[:, columns].argmax(0)
        return _constant(torch.nn.functional.one_hot(picks_B, advantage_ST.shape[0]).bool())

    def state_dict(self) -> dict[str, Tensor]:
        return {"counts": self.counts_2ST}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.counts_2ST = state["counts"]


def make_assigner(pool: Pool, config: RouterConfig, num_features: int) -> Assigner:
    make: Factory = registry.find("routers", config.kind, key="router.kind")
    return make(pool, config, num_features)


def _constant(chosen_BS: Tensor) -> Gates:
    value_BS = chosen_BS.to(torch.float32)
    return Gates(value_BS, value_BS)


def _measure_base(pool: Pool, ledger: Ledger) -> Tensor:
    nll_NS = pool.base_nll_NS()
    ledger.record(np.arange(len(pool.path_ids)), nll_NS, step=0)
    return nll_NS


def _comparative(nll_NS: Tensor) -> Tensor:
    """z-scores per student over the pool."""
    spread_S = nll_NS.std(0, unbiased=False).clamp_min(1e-12)
    return (nll_NS - nll_NS.mean(0)) / spread_S


def _known_student(name: str, names: tuple[str, ...], key: str) -> None:
    if name not in names:
        raise ConfigError(f"unknown student {name!r}; there are: {', '.join(names)}", key=key)
