"""A student: one model, its tokenizer, and the one forward that training, routing and scoring use.

Legend: B paths, T tokens of a batch, N labels, H hidden width, V vocabulary, L tokens of a padded row.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from qrdistill.students import batches
from qrdistill.students.batches import Batch
from qrdistill.students.config import StudentConfig
from qrdistill.students.head import Head, head_of, label_nll
from qrdistill.students.tokens import Codec, Encoded

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class View:
    """What one student makes of B paths.

    nll_B: minus log-likelihood of each response, end token included, summed over its tokens, in nats.
    num_targets_B: how many tokens were summed.
    num_tokens: tokens that the model computed for it (a shared prefix counts once).
    hidden: per path [spans, H]: the last hidden state at each response token's own position, aligned with
        `Encoded.spans`; None unless asked for.
    token_nll: per path, what each target token adds to nll_B.
    """

    nll_B: Tensor
    num_targets_B: Tensor
    num_tokens: int
    hidden: list[Tensor] | None = None
    token_nll: Sequence[Tensor] = ()


class Student:
    """name, config, model (peft-wrapped under LoRA), tokenizer, device; see `loading.load_student`."""

    def __init__(
        self,
        *,
        config: StudentConfig,
        model: Any,
        codec: Codec,
        device: torch.device,
        source: str,
        autocast: Literal["none", "bfloat16", "float16"] = "none",
        packed: bool = True,
    ) -> None:
        self.name, self.config, self.model, self.codec = config.name, config, model, codec
        self.tokenizer: Any = codec.tokenizer
        self.device, self.source, self.packed = device, source, packed
        self.alone = False  # one path per forward: see `packing.proof`
        self.own_attention: str = self.core.config._attn_implementation  # the family's, where nothing is packed
        self.rope_limit: int | None = None  # tokens from which longrope turns all positions of a batch otherwise
        self.autocast_dtype = _AUTOCAST.get(autocast)
        self.base: Any = None
        """The plain model whose weights it shares with students beside it, if there can be any."""
        self.open_mask = torch.zeros(1, 1, 1, 1, device=device)  # transformers passes 4-D masks through
        self.around: Callable[[Callable[[], Any]], Any] = lambda function: function()
        """Whatever reads the weights runs in it: where several processes share them, they are gathered for it."""

    @property
    def core(self) -> Any:
        """The causal language model itself, without peft's wrapper; adapters stay in its layers."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @property
    def hidden_size(self) -> int:
        return int(self.core.config.get_text_config().hidden_size)

    @property
    def num_rows(self) -> int:
        """Rows of the output vocabulary, padding rows included."""
        return int(self.core.get_input_embeddings().weight.shape[0])

    def encode(self, prompt: str, response: str) -> Encoded:
        """See `tokens.Codec.encode`; raises tokens.Unencodable."""
        return self.codec.encode(prompt, response)

    def trainable_parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def split(
        self, encoded: Sequence[Encoded], max_tokens: int | None, *, shared_prefix: bool = True
    ) -> list[list[int]]:
        """Indices of the paths of each forward of at most `max_tokens`: for gradient accumulation.

        Paths on both sides of `rope_limit` never meet: the longer would turn the shorter's positions too.
        """
        if self.alone:
            return [[at] for at in range(len(encoded))]
        limit = self.rope_limit or 1 << 40
        sides = [[at for at, path in enumerate(encoded) if (path.num_tokens > limit) == long] for long in (False, True)]
        return [
            [side[at] for at in part]
            for side in sides
            for part in batches.split([encoded[at] for at in side], max_tokens, share=shared_prefix and self.packed)
        ]

    def forward(
        self,
        encoded: Sequence[Encoded],
        *,
        hidden: bool = False,
        shared_prefix: bool = True,
        max_tokens: int | None = None,
        learnt: Sequence[float] | None = None,
    ) -> View:
        """NLL of every path, in the given order, differentiable unless under torch.no_grad().

        learnt: per path, what its NLL will be multiplied with, up to a common factor (see `head.label_nll`). Where it
        is 0 the NLL carries no gradient, which spares two of the head's three products (the hidden states carry one all
        the same). None: all alike.
        Where `max_tokens` asks for several forwards, their graphs are all kept until backward; to free
        each early, go through `split` and call backward after each part.
        """
        parts = self.split(encoded, max_tokens, shared_prefix=shared_prefix)
        learnt = [1.0] * len(encoded) if learnt is None else learnt
        views: list[View] = []
        for part in parts:
            own, learns = [encoded[at] for at in part], [learnt[at] for at in part]
            views.append(self.around(partial(self._forward, own, hidden, shared_prefix, learns)))
        lengths_B = torch.tensor([path.num_targets for path in encoded], device=self.device)
        if len(views) == 1:
            return replace(views[0], num_targets_B=lengths_B)
        if not views:
            empty = torch.zeros(0, device=self.device)
            return View(empty, lengths_B, 0, [] if hidden else None)
        order = [at for part in parts for at in part]
        places = [0] * len(order)
        for place, at in enumerate(order):
            places[at] = place
        joined = torch.cat([view.nll_B for view in views])
        states = [state for view in views for state in view.hidden or ()]
        token_nll = [each for view in views for each in view.token_nll]
        return View(
            joined[torch.tensor(places, device=self.device)],
            lengths_B,
            sum(view.num_tokens for view in views),
            [states[place] for place in places] if hidden else None,
            [token_nll[place] for place in places],
        )

    def _forward(self, encoded: list[Encoded], hidden: bool, shared_prefix: bool, learnt: list[float]) -> View:
        batch = batches.build(encoded, share=shared_prefix and self.packed, device=self.device)
        with self.precision():
            if self.packed:
                return self.view(batch, self.states(batch), learnt, hidden=hidden)
            return self._view(batch, *self._padded(encoded, batch, hidden), hidden)

    def view(self, batch: Batch, states_NH: Tensor, learnt: list[float], *, hidden: bool) -> View:
        """What it makes of a packed batch whose last hidden states are known."""
        return self._view(batch, states_NH, self._label_nll(states_NH, batch, learnt), hidden)

    def _view(self, batch: Batch, states_NH: Tensor | None, nll_N: Tensor, hidden: bool) -> View:
        lengths_B = torch.tensor(batch.lengths_B, device=self.device)
        nll_B = torch.segment_reduce(nll_N, "sum", lengths=lengths_B)
        pieces = None
        if hidden:  # response token i stands where token i + 1 is predicted: all rows but the first
            assert states_NH is not None
            pieces = [rows[1:] for rows in states_NH.split(list(batch.lengths_B))]
        return View(nll_B, lengths_B, len(batch.tokens_T), pieces, nll_N.split(list(batch.lengths_B)))

    def _label_nll(self, states_NH: Tensor, batch: Batch, learnt: list[float]) -> Tensor:
        head = self.head()
        weights_N = torch.from_numpy(np.repeat(np.asarray(learnt, np.float32), batch.lengths_B)).to(self.device)
        if all(learnt) or not torch.is_grad_enabled():
            return label_nll(head, states_NH, batch.labels_N, weights_N)
        learnt_N = np.repeat(np.asarray(learnt) != 0, batch.lengths_B)
        order = np.argsort(~learnt_N, kind="stable")
        order_N, back_N = (torch.from_numpy(places).to(self.device) for places in (order, np.argsort(order)))
        parts = [int(learnt_N.sum()), int((~learnt_N).sum())]
        states, labels = states_NH[order_N].split(parts), batch.labels_N[order_N].split(parts)
        with torch.no_grad():
            measured = label_nll(head, states[1], labels[1])
        weights = weights_N[order_N][: parts[0]]
        return torch.cat((label_nll(head, states[0], labels[0], weights), measured))[back_N]

    def logits(self, states_NH: Tensor) -> Tensor:
        """The head [N, H] -> [N, V] in float32, with the scaling and soft-capping that families add."""
        return self.head().project(states_NH)

    def head(self) -> Head:
        return head_of(self.core)

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.autocast_dtype)

    def states(self, batch: Batch, core: Any = None) -> Tensor:
        """Last hidden states [N, H] where labels are predicted, over concatenated paths; of another model with `core`.

        The plan alone says who sees whom: the mask is one that transformers leaves alone.
        """
        output = (core or self.core).get_decoder()(
            input_ids=batch.tokens_T[None],
            position_ids=batch.positions_T[None],
            attention_mask=self.open_mask,
            use_cache=False,
            plan=batch.plan,
        )
        return output.last_hidden_state[0].index_select(0, batch.rows_N)

    def _padded(self, encoded: list[Encoded], batch: Batch, hidden: bool) -> tuple[Tensor | None, Tensor]:
        """The family's own forward, one path per row with padding at its end; nothing of ours inside."""
        longest = max(path.num_tokens for path in encoded)
        tokens_BL = torch.full((len(encoded), longest), self.codec.end_id)
        mask_BL = torch.zeros(len(encoded), longest, dtype=torch.long)
        for row, path in enumerate(encoded):
            ids = (*path.prompt_ids, *path.response_ids[:-1])
            tokens_BL[row, : len(ids)] = torch.tensor(ids)
            mask_BL[row, : len(ids)] = 1
        mask_BL = mask_BL.to(self.device)
        output = self.core(
            input_ids=tokens_BL.to(self.device),
            attention_mask=mask_BL,
            use_cache=False,
            output_hidden_states=hidden,
        )
        # path by path, as the batch has them when nothing is shared
        rows_N = mask_BL.flatten().nonzero().flatten()[batch.rows_N]
        logits_NV = output.logits.flatten(0, 1).index_select(0, rows_N)
        nll_N = F.cross_entropy(logits_NV.float(), batch.labels_N, reduction="none")
        if not hidden:
            return None, nll_N
        return output.hidden_states[-1].flatten(0, 1).index_select(0, rows_N), nll_N
