"""Keys and values of the rows that are being decoded, each row as long as it is: nothing is padded left.

transformers' own caches grow by copying and hold finished rows to the end. Here every row has its place
for prompt and completion from the start; a finished row's place goes to the next prompt.

Legend: R rows, B paths of the batch that was read, G key heads, H query heads, C places of a row, L places in use, D head width.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from qrdistill.students.attention import Rules, all_heads, softcapped
from qrdistill.students.batches import Batch


class RowCache:
    """An attention plan that reads one new token per row and remembers it.

    rows: how many completions are written at once. capacity: tokens that the longest row will hold.
    """

    def __init__(self, rows: int, capacity: int, device: torch.device) -> None:
        self.capacity, self.device = capacity, device
        self.keys: list[Tensor] = []  # per layer [R, C, G, D]: what one step adds to a row lies together
        self.values: list[Tensor] = []
        self.lengths_R = torch.zeros(rows, dtype=torch.long, device=device)
        self._layer = 0
        self._length = 0  # places that this step's longest row uses, its new token included
        self._places_R = self.lengths_R  # of the new tokens, in all rows' places one after another
        self._masks: dict[tuple[int | None, torch.dtype], Tensor] = {}

    def admit(self, batch: Batch, paths: list[int], places: list[int]) -> None:
        """Takes over what a forward over prompts captured: path paths[i] of the batch becomes row places[i]."""
        captured = batch.plan.captured
        assert captured is not None
        rows = [batch.plan.rows[batch.segment_B[path]] for path in paths]
        lengths = [len(row) for row in rows]
        tokens = np.zeros((len(rows), max(lengths)), np.int64)
        for at, row in enumerate(rows):
            tokens[at, : len(row)] = row
        index = torch.from_numpy(tokens.reshape(-1)).to(self.device)
        where = torch.tensor(places, device=self.device)
        if not self.keys:
            for key, value in captured:
                for states, store in ((key, self.keys), (value, self.values)):
                    shape = (len(self.lengths_R), self.capacity, states.shape[1], states.shape[3])
                    store.append(torch.zeros(shape, dtype=states.dtype, device=self.device))
        for layer, pair in enumerate(captured):
            for states, store in zip(pair, (self.keys, self.values), strict=True):
                block = states[0].index_select(1, index).unflatten(1, tokens.shape).permute(1, 2, 0, 3)
                store[layer][where, : tokens.shape[1]] = block
        self.lengths_R[where] = torch.tensor(lengths, device=self.device)

    def keep(self, rows: list[int]) -> None:
        """Drops all other rows."""
        index = torch.tensor(rows, device=self.device)
        self.lengths_R = self.lengths_R[index]
        self.keys = [states.index_select(0, index) for states in self.keys]
        self.values = [states.index_select(0, index) for states in self.values]

    def begin(self, longest: int) -> None:
        """Before each forward of one token per row; `longest`: tokens that the longest live row holds."""
        self._layer, self._length = 0, longest + 1
        self._masks.clear()
        self._places_R = self.lengths_R + torch.arange(len(self.lengths_R), device=self.device) * self.capacity

    def end(self) -> None:
        self.lengths_R += 1
        self.lengths_R.clamp_(max=self.capacity - 1)  # rows without a live request only

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
        keys, values = self.keys[self._layer], self.values[self._layer]
        self._layer += 1
        keys.flatten(0, 1).index_copy_(0, self._places_R, key[:, :, 0])
        values.flatten(0, 1).index_copy_(0, self._places_R, value[:, :, 0])
        k, v = (states[:, : self._length].transpose(1, 2) for states in (keys, values))
        mask = self._mask(rules.window, query.dtype)
        if rules.softcap is not None:
            out = softcapped(query, *all_heads(query, k, v), mask, rules)
        else:  # query heads of one key head are its queries: nothing is repeated
            grouped = query.reshape(query.shape[0], k.shape[1], -1, query.shape[3])
            out = F.scaled_dot_product_attention(grouped, k, v, attn_mask=mask, scale=rules.scaling)
        return out.reshape(query.shape).transpose(1, 2)

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """Additive [R, 1, 1, L]: a row sees its own places up to the new token's."""
        if (mask := self._masks.get((window, dtype))) is None:
            places_L = torch.arange(self._length, device=self.device)
            unseen = places_L > self.lengths_R[:, None]
            if window is not None:
                unseen |= places_L <= self.lengths_R[:, None] - window
            mask = torch.zeros(unseen.shape, dtype=dtype, device=self.device)
            mask = mask.masked_fill_(unseen, float("-inf"))[:, None, None]
            self._masks[(window, dtype)] = mask
        return mask
