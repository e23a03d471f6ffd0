"""Routed imitation: every path trains the students that the assignment gives it to, by their own NLL of it.

Tensor suffixes: N paths of the pool, B paths of one step, S students, F embedding features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qrdistill.base.errors import InputError
from qrdistill.routing.config import RouterConfig
from qrdistill.routing.gates import Assigner, DevAccuracy, Pool, pin
from qrdistill.routing.learning_state import LearningState, State, correlation, stratified
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.routing.rules import make_assigner
from qrdistill.training.losses import gate_entropy, load_balance, routed_advantage
from qrdistill.training.method import Method, Reading, Setting, StepBatch, Term
from qrdistill.training.methods.router_watch import RouterWatch
from qrdistill.training.optimizers import Group, companion


class RoutedImitation(Method):
    """The gates are the weights; a learned router is trained by what its choices cost, against collapse.

        L_route = 1/B sum_bs alpha_bs z_bs + lambda_bal KL(mean share || uniform) - lambda_ent H(gates)

    Source: arXiv 2508.16861, routing; the deviations stand at each term in `losses`.
    """

    name = "routed_imitation"

    def __init__(
        self,
        assigner: Assigner,
        ledger: Ledger,
        config: RouterConfig,
        *,
        window: int = 20,
        state: LearningState | None = None,
        measure: Callable[[], None] = lambda: None,
    ) -> None:
        """window: steps over which the router is watched for collapse. state: for a learned router, the students'
        learning state, which `measure` enters before the first step."""
        self.assigner, self.ledger, self.config = assigner, ledger, config
        self.learned = bool(assigner.parameters())
        self._dense = self.learned and config.peer_loss == "dense"
        self._fresh = self.learned and config.peer_loss == "fresh"
        self._watch = RouterWatch(ledger.students, window)
        self._state, self._measure = state, measure
        self._seen: State | None = None  # at the current step, before it was measured

    @classmethod
    def of(cls, setting: Setting) -> RoutedImitation:
        material, router, train = setting.material, setting.plan.router, setting.plan.train
        if router.reads_embeddings and not setting.num_features:
            raise InputError(f"router.kind {router.kind} needs the paths' embeddings; run the embed stage first")
        styles, students = material.styles, material.students
        present = sorted(set(styles))
        pool = Pool(
            material.path_ids,
            styles,
            setting.names,
            setting.seed,
            lambda: material.measure(max_tokens=train.max_tokens_per_batch, shared_prefix=train.shared_prefix),
            lambda: setting.dev.base_accuracy(students, present),
            lambda: setting.dev.best_styles(students, present),
        )
        assigner = make_assigner(pool, router, setting.num_features)
        if not assigner.parameters():
            return cls(assigner, setting.ledger, router)
        state = LearningState(setting.ledger, material.features_NF, styles)

        def measure() -> None:
            if size := router.num_warm(len(styles)):
                rows = stratified(pool.path_ids, styles, size, setting.seed)
                nll_BS = material.measure(
                    rows, max_tokens=train.max_tokens_per_batch, shared_prefix=train.shared_prefix
                )
                state.start(rows, nll_BS)

        return cls(assigner, setting.ledger, router, window=min(20, train.num_steps), state=state, measure=measure)

    def read(self, batch: StepBatch) -> Reading:
        self._seen = self._state.look(batch.request) if self._state else None
        gates = pin(self.assigner.gates(replace(batch.request, state=self._seen)), batch.pinned_BS)
        weights_BS = (gates.soft_BS if self._dense else gates.hard_BS).detach()
        measured_BS = weights_BS == 0 if self._fresh else None
        return Reading(weights_BS, measured_BS=measured_BS, gates=gates)

    def settle(self, batch: StepBatch, reading: Reading) -> Sequence[Term]:
        gates = reading.gates
        assert gates is not None
        if self._state is None:
            relative_BS = self.ledger.relative_NS[torch.from_numpy(batch.request.rows_B)]
        else:  # measured in this step where it was, predicted from all that was measured elsewhere
            self._state.learn(batch.request, ~batch.pinned_BS.any(1))
            relative_BS = self._state.look(batch.request, fresh=0).relative_BS
        return (
            Term("route", routed_advantage(gates.soft_BS if self._dense else gates.hard_BS, relative_BS)),
            Term("balance", load_balance(gates.soft_BS), self.config.balance),
            Term("entropy", gate_entropy(gates.soft_BS), -self.config.entropy),  # kept high: subtracted
        )

    def facts(self, batch: StepBatch, reading: Reading) -> Mapping[str, object]:
        """state_known: share of the gatings with every student's state known. prediction: per student, correlation
        of what was predicted of this step's paths with what was then measured."""
        if self._seen is None:
            return {}
        rows = torch.from_numpy(batch.request.rows_B)
        now_BS = self.ledger.step_NS[rows] == batch.request.step
        measured_BS = torch.where(now_BS, self.ledger.nll_NS[rows], torch.nan)
        pairs = zip(self.ledger.students, self._seen.predicted_BS.T, measured_BS.T, strict=True)
        return {
            "state_known": float(self._seen.known_B.double().mean()),
            "prediction": {name: correlation(predicted_B, measured_B) for name, predicted_B, measured_B in pairs},
        }

    def finish(self, batch: StepBatch, reading: Reading) -> str | None:
        if not self.learned or reading.gates is None:
            return None
        return self._watch.observe(batch.request.step + 1, reading.gates.soft_BS)

    def close(self) -> str | None:
        return self._watch.closing() if self.learned else None

    def constant(self) -> Sequence[str]:
        if self._state is None or not self.config.learning_state:
            return ()
        return [f"the loss of {student} is the same, or unknown, for all paths" for student in self._state.constant()]

    def prepare(self) -> None:
        self.assigner.prepare(self.ledger)
        self._measure()

    def eligible_N(self, num_paths: int) -> NDArray[np.bool_]:
        return self.assigner.eligible_N()

    def observe(self, accuracy: DevAccuracy) -> None:
        self.assigner.observe(accuracy)

    def groups(self) -> Sequence[Group]:
        return [companion("router", self.assigner.parameters(), self.config.learning_rate)] if self.learned else []

    def state_dict(self) -> dict[str, Tensor]:
        watched = {f"watch.{name}": value for name, value in self._watch.state_dict().items()}
        if self._state:
            watched |= {f"state.{name}": value for name, value in self._state.state_dict().items()}
        return watched | {f"assigner.{name}": value for name, value in self.assigner.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

        self._watch.load_state_dict(part("watch."))
        self.assigner.load_state_dict(part("assigner."))
        if self._state:
            self._state.load_state_dict(part("state."))
