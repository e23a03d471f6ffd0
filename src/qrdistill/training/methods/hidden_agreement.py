"""Mutual-student distillation: students' hidden states compared span by span in one shared space.

Tensor suffixes: N paths of the pool, S students, B paths, K spans, H hidden width, D shared dimensions; 1 is a size of one; 3 the
decayed sums n, x and x^2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qrdistill.base.draws import seed_of, uniform
from qrdistill.students.student import View
from qrdistill.training.config import MutualConfig
from qrdistill.training.data import Material
from qrdistill.training.losses import competence_loss, mutual_mse
from qrdistill.training.mesh.ranks import Ranks
from qrdistill.training.method import Method, Reading, Setting, StepBatch, Term
from qrdistill.training.optimizers import Group, companion
from qrdistill.training.spans import SharedPath, pool_hidden, share_path

_DECAY = 0.9  # per step, of the sums behind each shared dimension's mean and spread
_REMEMBERED = 1 << 14  # paths whose spans are kept in memory


class HiddenAgreement(Method):
    """A share of each step's paths is read by every student, whose hidden states are pulled together."""

    name = "hidden_agreement"

    def __init__(self, material: Material, mutual: Mutual, seed: int, ranks: Ranks | None = None) -> None:
        self._material, self.mutual, self._seed, self._ranks = material, mutual, seed, ranks or Ranks()
        self._shared = lru_cache(maxsize=_REMEMBERED)(self._spans)

    @classmethod
    def of(cls, setting: Setting) -> HiddenAgreement:
        students = setting.material.students
        sizes = [(student.name, student.hidden_size) for student in students]
        device = str(students[0].device)
        mutual = Mutual(sizes, setting.plan.mutual, seed=setting.seed, device=device)
        return cls(setting.material, mutual, setting.seed, setting.material.ranks)

    def _spans(self, row: int, hinted: bool) -> SharedPath:
        students = range(len(self._material.students))
        tokens = [self._material.encoded(s, row, hinted).spans for s in students]
        return share_path(self._material.paths[row].lesson, tokens, self.mutual.config.span)

    def _paths(self, batch: StepBatch, reading: Reading) -> dict[int, SharedPath]:
        return {b: self._shared(batch.request.rows[b], batch.hinted[b]) for b in reading.compared}

    def read(self, batch: StepBatch) -> Reading:
        free_B = (~batch.pinned_BS.any(1)).tolist()
        share = self.mutual.config.share
        chosen = shared_paths(self._seed, batch.request.step, batch.path_ids, free_B, share)
        return Reading(torch.zeros(batch.pinned_BS.shape), compared=chosen)

    def agree(
        self, batch: StepBatch, reading: Reading, compared: Sequence[int], views: Mapping[int, View]
    ) -> Sequence[Term]:
        spans = self._paths(batch, reading)
        places = [place for place, path in enumerate(compared) if path in spans]
        paths = [spans[compared[place]] for place in places]
        if not sum(path.num_spans for path in paths):
            zero = torch.zeros(())
            return self._terms(Agreement(zero, zero))
        num_spans = [path.num_spans for path in paths]
        own = {
            s: pool_hidden(
                [(view.hidden or [])[place] for place in places], [path.poolings[s] for path in paths], num_spans
            )
            for s, view in views.items()
        }
        widths = self.mutual.widths
        pooled = self._ranks.spans(own, [(sum(num_spans), width) for width in widths])
        device = pooled[0].device
        owner_K = torch.repeat_interleave(torch.arange(len(paths)), torch.tensor(num_spans)).to(device)
        characters_B1 = batch.characters_B[[compared[place] for place in places], None].to(device)
        nll = self._ranks.spans(
            {s: view.nll_B[places].detach() for s, view in views.items()}, [(len(places),)] * len(widths)
        )
        nll_BS = torch.stack(nll, dim=1) / characters_B1
        every = [path.num_spans for path in spans.values()]
        return self._terms(self.mutual(pooled, owner_K, nll_BS, num_spans=sum(every), num_paths=len(every)))

    def _terms(self, agreement: Agreement) -> Sequence[Term]:
        mutual = Term("mutual", agreement.mse, self.mutual.config.weight)
        return mutual, Term("competence", agreement.competence, aside=True)

    def finish(self, batch: StepBatch, reading: Reading) -> str | None:
        self._ranks.add_up(self.mutual.get_buffer("pending_3SD"))
        self.mutual.finish_step()

    def eligible_N(self, num_paths: int) -> NDArray[np.bool_]:
        return np.zeros(num_paths, dtype=np.bool_)  # it reads along: what others learn from

    def groups(self) -> Sequence[Group]:
        return [companion("mutual", list(self.mutual.parameters()), self.mutual.config.learning_rate)]

    def state_dict(self) -> dict[str, Tensor]:
        return self.mutual.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.mutual.load_state_dict(dict(state))


def shared_paths(seed: int, step: int, path_ids: Sequence[str], open_B: Sequence[bool], share: float) -> list[int]:
    """Which of a step's paths every student reads: at least one, `share` of them, by lot.

    `open_B` is False for paths with a fixed destination: they are nobody else's.
    """
    count = max(1, round(share * len(path_ids)))
    lots = sorted((uniform(seed, "share", step, path), index) for index, path in enumerate(path_ids) if open_B[index])
    return sorted(index for _, index in lots[:count])


@dataclass(frozen=True)
class Agreement:
    """One micro-batch's part of the step's two mutual losses."""

    mse: Tensor
    competence: Tensor


class Mutual(nn.Module):
    """Projectors, and the competence net that weighs the ensemble.

        z_s = rms_norm((P_s h_s - mean_s) / sd_s)         per span; mean and sd are running, detached
        c   = softmax_s(g_s(mean over spans of z_s))       per path, trained on who has the lower NLL
        target = sum_s c_s z_s                             detached; `better_peer`: the best peer's z

    Without the standardisation a projector could make every span alike and the error zero; with it,
    whatever becomes constant is taken out and what is left is scaled up again. The competence net
    reads detached z and learns from its own loss only, so it cannot flatter itself by moving the
    students. Source: arXiv 2508.16861, mutual-student distillation; there hidden states are compared
    position by position and without normalisation.
    """

    def __init__(
        self, students: Sequence[tuple[str, int]], config: MutualConfig, *, seed: int, device: str = "cpu"
    ) -> None:
        """`students`: name and hidden width of each, in the order of their names."""
        super().__init__()
        self.config = config
        size = config.dimension
        self.projectors = nn.ModuleList(_linear(width, size, seed, "projector", n) for n, width in students)
        self.competence = nn.ModuleList(
            nn.Sequential(
                _linear(size, size, seed, "competence", name, bias=True),
                nn.GELU(),
                _linear(size, 1, seed, "competence out", name, bias=True),
            )
            for name, _ in students
        )
        self.widths = [width for _, width in students]
        count = len(students)
        # decayed n, sum x and sum x^2 per student and dimension; `pending` is the current step's part
        self.register_buffer("sums_3SD", torch.zeros(3, count, size, dtype=torch.float64))
        self.register_buffer("pending_3SD", torch.zeros(3, count, size, dtype=torch.float64), persistent=False)
        self.to(device)

    def project(self, index: int, pooled_KH: Tensor) -> Tensor:
        """z [K, D] of student `index`: standardised per dimension, root mean square 1 per span."""
        raw_KD = self.projectors[index](pooled_KH)
        count_D, total_D, square_D = self.get_buffer("sums_3SD")[:, index]
        if count_D[0] > 0:
            mean_D = total_D / count_D
            variance_D = (square_D / count_D - mean_D.square()).clamp_min(1e-12)
            centred_KD = (raw_KD - mean_D.to(raw_KD)) / variance_D.sqrt().to(raw_KD)
        else:
            centred_KD = raw_KD
        detached_KD = raw_KD.detach().double()
        self.get_buffer("pending_3SD")[:, index] += torch.stack(
            [torch.full_like(count_D, len(raw_KD)), detached_KD.sum(0), detached_KD.square().sum(0)]
        )
        return centred_KD / (centred_KD.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    def forward(
        self,
        pooled: Sequence[Tensor],
        owner_K: Tensor,
        nll_BS: Tensor,
        *,
        num_spans: float,
        num_paths: float,
    ) -> Agreement:
        """`pooled`: per student [K, H]. `owner_K`: the path of each span. `nll_BS`: nats per character,

        detached. `num_spans`, `num_paths`: the whole step's, so that micro-batches add up.
        """
        z_SKD = torch.stack([self.project(index, pooled_KH) for index, pooled_KH in enumerate(pooled)])
        nll_BS = nll_BS.detach().to(z_SKD)
        logits_BS = self._logits(z_SKD.detach(), owner_K, len(nll_BS))
        nll_SK = nll_BS.T[:, owner_K]
        if self.config.gate == "better_peer":
            best_K = nll_SK.argmin(0)
            target_KD = z_SKD[best_K, torch.arange(len(best_K), device=best_K.device)]
            pulled_SK = (nll_SK > nll_SK.min(0).values).to(z_SKD)
        else:
            weight_SK1 = logits_BS.softmax(-1).T[:, owner_K].unsqueeze(-1)
            target_KD = (weight_SK1 * z_SKD).sum(0)
            pulled_SK = torch.ones_like(nll_SK)
        mse = mutual_mse(z_SKD, target_KD.detach().expand_as(z_SKD), pulled_SK, num_spans)
        return Agreement(mse, competence_loss(logits_BS, nll_BS, num_paths))

    def _logits(self, z_SKD: Tensor, owner_K: Tensor, num_paths: int) -> Tensor:
        count_B1 = z_SKD.new_zeros(num_paths, 1).index_add(0, owner_K, z_SKD.new_ones(len(owner_K), 1))
        columns: list[Tensor] = []
        for net, z_KD in zip(self.competence, z_SKD, strict=True):
            total_BD = z_KD.new_zeros(num_paths, z_KD.shape[1]).index_add(0, owner_K, z_KD)
            columns.append(net(total_BD / count_B1.clamp_min(1)))
        return torch.cat(columns, dim=1)

    def finish_step(self) -> None:
        """Folds the step's sums in: only now, so that cutting a step into micro-batches changes nothing."""
        pending_3SD, sums_3SD = self.get_buffer("pending_3SD"), self.get_buffer("sums_3SD")
        if pending_3SD[0].any():
            sums_3SD.mul_(_DECAY).add_(pending_3SD)
            pending_3SD.zero_()


def _linear(inputs: int, outputs: int, seed: int, *keys: str | int, bias: bool = False) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    generator = torch.Generator().manual_seed(seed_of(seed, *keys))
    weight = torch.randn(outputs, inputs, generator=generator) / math.sqrt(inputs)
    layer.weight.data.copy_(weight)
    if bias:
        layer.bias.data.zero_()
    return layer
