"""How llama.cpp names and arranges the models of a few families: their settings and their weights.

Anything that this file does not know of a model is refused: a file that loads and answers otherwise is worse than none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qrdistill.base.errors import ModelError


@dataclass(frozen=True)
class Family:
    """architecture: as GGUF calls it. shifted_norms: the family adds one to its norms' weights, GGUF has done so.
    rotated_in_pairs: queries and keys stand in another order there. full_every: each n-th layer sees everything,
    the others a window; None: all do."""

    architecture: str
    shifted_norms: bool = False
    rotated_in_pairs: bool = False
    full_every: int | None = None


FAMILIES = {
    "llama": Family("llama", rotated_in_pairs=True),
    "mistral": Family("llama", rotated_in_pairs=True),
    "gemma": Family("gemma", shifted_norms=True),
    "gemma2": Family("gemma2", shifted_norms=True, full_every=2),
    "gemma3_text": Family("gemma3", shifted_norms=True, full_every=6),
    "qwen2": Family("qwen2"),
    "qwen3": Family("qwen3"),
}


class NotKnown(ModelError):
    """A model that needs llama.cpp's own converter."""


def add_settings(writer: Any, config: Any, family: Family) -> None:
    """Writes what llama.cpp asks of a model's config. Raises NotKnown for a setting that it would not honour."""
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    scalar = getattr(config, "query_pre_attn_scalar", None)
    if scalar is not None and scalar != head_dim:
        raise NotKnown(f"its attention is scaled by {scalar}, not by the heads' width ({head_dim})")
    window = getattr(config, "sliding_window", None)
    context = config.max_position_embeddings
    writer.add_context_length(min(context, window) if window and family.full_every is None else context)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if family.rotated_in_pairs:
        writer.add_rope_dimension_count(head_dim)
    if family.full_every is not None:
        _add_windows(writer, config, family.full_every)
    for kind in ("attn", "final"):
        if (cap := getattr(config, f"{kind}_logit_softcapping", None)) is not None:
            getattr(writer, f"add_{kind}_logit_softcapping")(cap)
    _add_rotation(writer, config)


def _add_windows(writer: Any, config: Any, every: int) -> None:
    kinds = ["sliding_attention" if (at + 1) % every else "full_attention" for at in range(config.num_hidden_layers)]
    if list(config.layer_types) != kinds:
        raise NotKnown(f"its layers do not see everything at each {every}th, as llama.cpp expects")
    writer.add_sliding_window(config.sliding_window)


def _add_rotation(writer: Any, config: Any) -> None:
    rotation = _rotation(config)
    writer.add_rope_freq_base(rotation["rope_theta"])
    swa = (config.rope_parameters or {}).get("sliding_attention")
    if isinstance(swa, dict):
        if swa.get("rope_type", "default") != "default":
            raise NotKnown("its windows scale their positions")
        writer.add_rope_freq_base_swa(swa["rope_theta"])
    kind = rotation.get("rope_type", "default")
    if kind == "linear":
        from gguf import RopeScalingType

        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rotation["factor"])
    elif kind not in ("default", "llama3"):
        raise NotKnown(f"its positions are scaled by {kind!r}")


def _rotation(config: Any) -> dict[str, Any]:
    parameters: dict[str, Any] = config.rope_parameters or {}
    return parameters.get("full_attention", parameters)


def tensors(folder: Path, config: Any, family: Family) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The weights of a folder's safetensors files by their names in GGUF, one after the other.

    Raises NotKnown for a weight that the family does not have.
    """
    import gguf
    from safetensors import safe_open

    architecture = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == family.architecture)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    factors = _rotation_factors(config)
    if factors is not None:
        yield "rope_freqs.weight", factors
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping
                if name == "lm_head.weight" and config.tie_word_embeddings:
                    continue
                found = names.get_name(name, try_suffixes=(".weight", ".bias"))
                if found is None:
                    raise NotKnown(f"GGUF has no name for its weight {name}")
                yield found, _arranged(weights.get_tensor(name).float(), name, config, family)


def _arranged(weight: torch.Tensor, name: str, config: Any, family: Family) -> NDArray[np.float32]:
    if family.shifted_norms and name.endswith("norm.weight"):
        weight = weight + 1
    kind = name.split(".")[-2]
    if family.rotated_in_pairs and kind in ("q_proj", "k_proj"):
        heads = config.num_attention_heads if kind == "q_proj" else config.num_key_value_heads
        halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
        weight = halves.swapaxes(1, 2).reshape(weight.shape)
    return weight.contiguous().numpy()


def _rotation_factors(config: Any) -> NDArray[np.float32] | None:
    """By how much Llama 3.1's rule slows each pair of positions down; None for other rules."""
    rotation = _rotation(config)
    if rotation.get("rope_type") != "llama3":
        return None
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    low, high, factor = (float(rotation[key]) for key in ("low_freq_factor", "high_freq_factor", "factor"))
    original = float(rotation["original_max_position_embeddings"])
    factors: list[float] = []
    for at in range(0, head_dim, 2):
        turns = original / (2 * math.pi * float(rotation["rope_theta"]) ** (at / head_dim))
        share = min(1.0, max(0.0, (turns - low) / (high - low)))
        factors.append(1 / ((1 - share) / factor + share))
    return np.array(factors, np.float32)
