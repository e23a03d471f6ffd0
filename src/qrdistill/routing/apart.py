"""Embedding on workers: the encoder's own batches, formed as one process forms them, so that the same rows come out.

Suffixes: N paths, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from qrdistill.base.plugins import registry
from qrdistill.base.progress import Progress
from qrdistill.base.store import temporary_folder
from qrdistill.routing.config import EncoderConfig

if TYPE_CHECKING:
    from qrdistill.compute.workers import Workers

_SHARD = 4096  # paths that a worker embeds at once: a model is loaded for each

Pairs = Sequence[tuple[str, str]]


def embed_apart(
    pairs: Pairs, config: EncoderConfig, workers: Workers, *, seed: int, device: str, beside: Path, progress: Progress
) -> NDArray[np.float32]:
    """One row per (question, path text), in their order: float32 [N, F].

    Shards are cut in the order of length that encoders batch in, at whole batches.
    """
    order = sorted(range(len(pairs)), key=lambda index: (sum(map(len, pairs[index])), index))
    size = max(1, _SHARD // config.batch_size) * config.batch_size
    starts = range(0, len(order), size)
    vectors_NF: NDArray[np.float32] | None = None
    with temporary_folder(beside) as folder:
        files = [_write(folder / f"texts-{start:09d}.parquet", pairs, order[start : start + size]) for start in starts]
        encode = _Encode(config, seed, device)
        for start, rows in zip(starts, workers.map(encode, files, progress=progress, gpu=True), strict=True):
            if vectors_NF is None:
                vectors_NF = np.empty((len(order), rows.shape[1]), np.float32)
            vectors_NF[order[start : start + size]] = rows
            progress.advance(len(rows))
    assert vectors_NF is not None
    return vectors_NF


def _write(file: Path, pairs: Pairs, chosen: Sequence[int]) -> Path:
    columns = {"question": [pairs[index][0] for index in chosen], "text": [pairs[index][1] for index in chosen]}
    pq.write_table(pa.table(columns), file, compression="zstd")
    return file


class _Encode:
    """What a worker does with a shard."""

    def __init__(self, config: EncoderConfig, seed: int, device: str) -> None:
        self._config, self._seed, self._device = config, seed, device

    def __call__(self, file: Path, progress: Progress) -> NDArray[np.float32]:
        table = pq.read_table(file)
        pairs = list(zip(table["question"].to_pylist(), table["text"].to_pylist(), strict=True))
        encode = registry.find("encoders", self._config.kind, key="encoder.kind")
        return encode(pairs, self._config, seed=self._seed, device=self._device, progress=progress)
