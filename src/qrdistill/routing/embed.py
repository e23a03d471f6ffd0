"""Frozen embeddings of [question; path]: computed once per path, stored, read by the router.

Suffixes: N paths, B paths of a batch, F features, T tokens, H hidden units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from qrdistill.base.device import resolve_device
from qrdistill.base.errors import ConfigError, ModelError
from qrdistill.base.plugins import registry
from qrdistill.base.progress import Progress, Silent
from qrdistill.routing.config import EncoderConfig

if TYPE_CHECKING:
    from qrdistill.compute.workers import Workers

_BUCKETS = 1 << 14
_CHUNK = 2048  # rows
_AT_ONCE = 1 << 16  # pairs that an encoder is given in one call
_HEAD = 128  # bytes of a .npy file before its rows


class Encoder(Protocol):
    def __call__(
        self,
        pairs: Sequence[tuple[str, str]],
        config: EncoderConfig,
        *,
        seed: int,
        device: str,
        progress: Progress,
    ) -> NDArray[np.float32]:
        """Embeds (question, path text) pairs, in their order. Called for 65,536 of them at a time, so a row may
        depend on its own pair only."""
        ...


def embed(
    pairs: Iterable[tuple[str, str]],
    config: EncoderConfig,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress | None = None,
    workers: Workers | None = None,
    beside: Path = Path("embeddings.npy"),
) -> Iterator[NDArray[np.float32]]:
    """A row per (question, path text), in their order, as parts of float32 [B, F]: memory does not grow with the pairs.

    With `workers`, they embed; what they are handed lies for so long `beside` the file that the rows are meant for.

    Raises ModelError where the encoder's model cannot be loaded.
    """
    progress = progress or Silent()
    encode: Encoder = registry.find("encoders", config.kind, key="encoder.kind")
    progress.start("embed")
    given, count, features = iter(pairs), 0, 0
    while chunk := list(islice(given, _AT_ONCE)):
        if workers is None:
            vectors_BF = encode(chunk, config, seed=seed, device=device, progress=progress)
        else:
            from qrdistill.routing.apart import embed_apart

            vectors_BF = embed_apart(chunk, config, workers, seed=seed, device=device, beside=beside, progress=progress)
        count, features = count + len(chunk), vectors_BF.shape[1]
        yield vectors_BF
    progress.done(paths=count, features=features)


def save_vectors(file: BinaryIO, parts: Iterable[NDArray[np.float32]]) -> tuple[int, int]:
    """Writes parts of one array to an open .npy file as they come; returns rows and features."""
    rows = features = 0
    _write_head(file, rows, features)
    for part in parts:
        rows, features = rows + len(part), part.shape[1]
        file.write(np.ascontiguousarray(part, np.float32).tobytes())
    file.seek(0)
    _write_head(file, rows, features)
    return rows, features


def _write_head(file: BinaryIO, rows: int, features: int) -> None:
    """Of a fixed length, so that it can be written again when the number of rows is known."""
    head = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False}
    np.lib.format.write_array_header_1_0(file, {**head, "shape": (rows, features)})
    assert file.tell() == _HEAD


def hashing(
    pairs: Sequence[tuple[str, str]], config: EncoderConfig, *, seed: int, device: str, progress: Progress
) -> NDArray[np.float32]:
    """Hashed counts of words, signs and pairs of them, L2-normalised, then a Gaussian projection.

    x = normalise(counts) P with P ~ N(0, 1 / F), seeded: distances between texts survive, no
    weights are needed, and a row depends on its own text only.
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer: Any = HashingVectorizer(n_features=_BUCKETS, ngram_range=(1, 2), token_pattern=r"(?u)\w+|[^\w\s]")
    generator = np.random.default_rng(seed)
    projection = generator.standard_normal((_BUCKETS, config.dimension), dtype=np.float32)
    projection /= np.float32(np.sqrt(config.dimension))
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(pairs), _CHUNK):
        chunk = [f"{question}\n{text}" for question, text in pairs[start : start + _CHUNK]]
        parts.append(np.asarray(vectorizer.transform(chunk).astype(np.float32) @ projection))
        progress.advance(len(chunk))
    return np.concatenate(parts)


def huggingface(
    pairs: Sequence[tuple[str, str]], config: EncoderConfig, *, seed: int, device: str, progress: Progress
) -> NDArray[np.float32]:
    """A frozen transformer's last hidden states, averaged over the real tokens of [question; path].

    Batches are formed by length, so little is padded. What exceeds `max_tokens` is cut from the
    longer of the two texts: only what the router sees, never what a student trains on.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    if config.model is None:
        raise ConfigError("encoder kind huggingface needs a model: a folder or a hub id", key="encoder.model")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(config.model, trust_remote_code=config.trust_remote_code)
        model: Any = AutoModel.from_pretrained(config.model, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"encoder.model: cannot load {config.model!r} ({_first_line(error)}); "
            "give a Hugging Face folder or hub id, or use encoder.kind hashing, which needs no weights"
        ) from error
    place = resolve_device(device)
    model = model.to(place).eval().requires_grad_(False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    limit = min(config.max_tokens, _context(model.config))
    order = sorted(range(len(pairs)), key=lambda index: (sum(map(len, pairs[index])), index))
    rows: list[NDArray[np.float32]] = []
    with torch.no_grad():
        for start in range(0, len(order), config.batch_size):
            chunk = [pairs[index] for index in order[start : start + config.batch_size]]
            batch = tokenizer(
                [question for question, _ in chunk],
                [text for _, text in chunk],
                padding=True,
                truncation=True,
                max_length=limit,
                return_tensors="pt",
            ).to(place)
            hidden_BTH = model(**batch).last_hidden_state.float()
            mask_BT1 = batch["attention_mask"].unsqueeze(-1).to(hidden_BTH)
            pooled_BH = (hidden_BTH * mask_BT1).sum(1) / mask_BT1.sum(1)
            rows.append(pooled_BH.cpu().numpy())
            progress.advance(len(chunk))
    sorted_NF = np.concatenate(rows)
    vectors_NF = np.empty_like(sorted_NF)
    vectors_NF[order] = sorted_NF
    return vectors_NF


def _context(config: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None) or 512
    # RoBERTa numbers its positions from pad_token_id + 1
    return positions - 2 if getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert") else positions


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
