"""How many tokens each path takes for each student: counted once, in batches, and kept for later starts.

Whether a path fits a student's context has to be known of the whole pool before the first step; its labels only when
it is drawn. Where a path's characters leave that open it is counted, at a sixth of the cost of labels
(docs/performance.md), and a count that was made once is read from a file beside the runs: by later starts, rounds, and
the arms of a study. A file that is damaged is made anew.

    token_counts/<tokenizer's hash>.npz    keys: uint64 [N], sorted; counts: int32 [N]

Suffixes: N paths asked for, K counts that are kept, M paths that are new.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qrdistill.base.store import atomic
from qrdistill.students.tokens import Codec

_BATCH = 1024
Pair = tuple[str, str]


def token_counts(
    codec: Codec, texts: Callable[[int], Pair], rows_N: NDArray[np.int64], folder: Path | None
) -> NDArray[np.int32]:
    """Tokens of prompt and response together, [N]; 0 where only `Codec.encode` can tell. Kept in `folder`, if any.

    texts: a path's row -> its prompt and response.
    """
    number = len(rows_N)
    if not number:
        return np.zeros(0, np.int32)
    keys_N = np.fromiter((_key(*texts(row)) for row in rows_N.tolist()), np.uint64, number)
    file = folder / f"{codec.fingerprint()}.npz" if folder else None
    known_K, counts_K = _read(file)
    places_N = np.searchsorted(known_K, keys_N)
    found_N = known_K[np.minimum(places_N, len(known_K) - 1)] == keys_N if len(known_K) else np.zeros(number, bool)
    counts_N = np.zeros(number, np.int32)
    counts_N[found_N] = counts_K[places_N[found_N]]
    new_M = np.flatnonzero(~found_N)
    for start in range(0, len(new_M), _BATCH):
        places = new_M[start : start + _BATCH]
        counts_N[places] = codec.count([texts(row) for row in rows_N[places].tolist()])
    if file and len(new_M):
        _write(file, np.concatenate([known_K, keys_N[new_M]]), np.concatenate([counts_K, counts_N[new_M]]))
    return counts_N


def _key(prompt: str, response: str) -> int:
    text = f"{len(prompt)}:{prompt}{response}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _read(file: Path | None) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    if file is not None:
        with suppress(OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):  # the archive checks its own sums
            with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as kept:
                keys, counts = kept["keys"], kept["counts"]
            if keys.dtype == np.uint64 and counts.dtype == np.int32 and keys.shape == counts.shape and keys.ndim == 1:
                return keys, counts
    return np.zeros(0, np.uint64), np.zeros(0, np.int32)


def _write(file: Path, keys: NDArray[np.uint64], counts: NDArray[np.int32]) -> None:
    keys, first = np.unique(keys, return_index=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, keys=keys, counts=counts[first])
