from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qrdistill.base.errors import ConfigError, ModelError
from qrdistill.routing.config import EncoderConfig
from qrdistill.routing.embed import embed, save_vectors

TEXTS = [
    "3 + 4 = 7",
    "She has 3 apples and buys 4 more.",
    "x = 3 + 4\nprint(x)",
    "She has 3 pears and buys 4 more.",
]


def pairs(texts: list[str]) -> list[tuple[str, str]]:
    return [("How many?", text) for text in texts]


def rows(texts: list[str], config: EncoderConfig | None = None, seed: int = 0) -> Any:
    return np.concatenate([*embed(pairs(texts), config or EncoderConfig(dimension=64), seed=seed)])


def test_hashing_gives_one_float32_row_per_path_whatever_stands_beside_it() -> None:
    vectors = rows(TEXTS)
    assert vectors.shape == (4, 64)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors[2], rows([TEXTS[2]])[0])
    assert np.array_equal(vectors, rows(TEXTS))
    assert not np.array_equal(vectors, rows(TEXTS, seed=1))


def test_parts_are_saved_as_one_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qrdistill.routing.embed._AT_ONCE", 3)
    parts = list(embed(pairs(TEXTS), EncoderConfig(dimension=64), seed=0))
    assert [len(part) for part in parts] == [3, 1]
    with (tmp_path / "v.npy").open("wb") as file:
        assert save_vectors(file, parts) == (4, 64)
    np.save(tmp_path / "w.npy", rows(TEXTS))
    assert (tmp_path / "v.npy").read_bytes() == (tmp_path / "w.npy").read_bytes()
    with (tmp_path / "none.npy").open("wb") as file:
        assert save_vectors(file, ()) == (0, 0)
    assert np.load(tmp_path / "none.npy").shape == (0, 0)


def test_like_texts_lie_close() -> None:
    unit = rows(TEXTS, EncoderConfig(dimension=512))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    near = unit @ unit.T
    assert near[1, 3] > near[1, 0] + 0.2
    assert near[0, 2] > near[0, 3]


def test_huggingface_pools_over_real_tokens_in_the_given_order(
    tiny_student_folder: Callable[..., Path],
) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = str(tiny_student_folder("llama"))
    vectors = rows(TEXTS, EncoderConfig(kind="huggingface", model=folder, batch_size=3))
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(TEXTS, vectors, strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer("How many?", text, return_tensors="pt")).last_hidden_state[0]
        np.testing.assert_allclose(vector, hidden.mean(0).numpy(), atol=2e-5)


def test_bad_input_is_said(tmp_path: Path) -> None:
    assert list(embed([], EncoderConfig(), seed=0)) == []
    with pytest.raises(ConfigError, match=r"encoder\.model"):
        rows(TEXTS, EncoderConfig(kind="huggingface"))
    with pytest.raises(ModelError, match="encoder kind hashing|hashing, which needs no weights"):
        rows(TEXTS, EncoderConfig(kind="huggingface", model=str(tmp_path)))
