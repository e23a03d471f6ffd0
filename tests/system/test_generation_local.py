"""Generation with real models: `transformers serve` over HTTP, and the `transformers` teacher in process."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from generation_runner import run, teacher
from serve_runner import serving

from qrdistill.base.errors import ModelError
from qrdistill.base.records import ReasoningPath
from qrdistill.base.store import read_table
from qrdistill.llm.config import TransformersTeacher

TEMPLATE = (
    "{% for message in messages %}<turn>{{ message['role'] }} {{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant {% endif %}"
)


@pytest.fixture
def served(tiny_student_folder: Callable[..., Path]) -> Iterator[tuple[str, Path]]:
    """(address, model folder) of a `transformers serve` with a tiny random model."""
    folder = tiny_student_folder("llama", chat_template=TEMPLATE, max_position_embeddings=512)
    with serving(str(folder)) as url:
        yield url, folder


@pytest.mark.slow
def test_a_real_server_writes_paths(tmp_path: Path, served: tuple[str, Path]):
    url, folder = served
    asked = teacher(url, model=str(folder), api_key_env=None, timeout=60, max_tokens=12, concurrency=4)
    spending = run(tmp_path / "run", [asked], 2)
    paths = list(read_table(tmp_path / "run/paths.parquet", ReasoningPath))
    assert (spending.paths, spending.failures) == (8, 0)
    assert all(0 < path.completion_tokens <= 12 and path.prompt_tokens > 20 for path in paths)
    assert {path.finish_reason for path in paths} <= {"stop", "length"}
    assert sum(bool(path.text.strip()) for path in paths) >= 6


def local(folder: Path, **changes: object) -> TransformersTeacher:
    settings = {
        "kind": "transformers",
        "name": "local",
        "model": str(folder),
        "max_tokens": 12,
        "device": "cpu",
    }
    return TransformersTeacher.model_validate(settings | changes)


def texts(folder: Path, asked: TransformersTeacher) -> list[str]:
    run(folder, [asked], 3)  # type: ignore[list-item]
    return [path.text for path in read_table(folder / "paths.parquet", ReasoningPath)]


def test_a_local_model_writes_the_same_whatever_its_batches(tmp_path: Path, tiny_student_folder: Callable[..., Path]):
    folder = tiny_student_folder("llama", chat_template=TEMPLATE, max_position_embeddings=512)
    one, five = (texts(tmp_path / str(size), local(folder, batch_size=size)) for size in (1, 5))
    assert len(one) == 12
    assert one == five
    assert len(set(one)) > 8, "samples differ"
    greedy = texts(tmp_path / "greedy", local(folder, temperature=0))
    assert all(first == second for first, second in zip(greedy[::2], greedy[1::2], strict=True))


def test_a_folder_that_is_no_model_is_said(tmp_path: Path):
    with pytest.raises(ModelError, match=re.escape("teacher 'local': cannot load the model")):
        run(tmp_path, [local(tmp_path)], 1)  # type: ignore[list-item]
