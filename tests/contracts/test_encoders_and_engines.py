"""The contracts of what reads for the router and of what writes the students' answers: a row or a completion depends on
its own text, not on its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.students.engines.stand_in import Served, serving
from tests.students.engines.vllm_stand_in import stand_in_for_vllm

from qrdistill.base.plugins import registry
from qrdistill.base.progress import Silent
from qrdistill.routing.config import EncoderConfig
from qrdistill.routing.embed import Encoder
from qrdistill.scores.config import EvaluateConfig
from qrdistill.students.config import StudentConfig
from qrdistill.students.engines.engine import Engine, Surroundings, Writer
from qrdistill.students.loading import load_student

PAIRS = [
    ("How many apples?", "3 + 4 = 7"),
    ("How many apples?", "She has 3 apples and buys 4 more."),
    ("x", "word " * 300),
    ("How many apples?", ""),
    ("Wie viele Äpfel? 🍎", "\x00 سبعة\u202e"),
]


class Counted(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def advance(self, steps: int = 1, **facts: object) -> None:
        self.steps += steps


@pytest.mark.parametrize("kind", registry.bundled("encoders"))
class TestEveryEncoder:
    @pytest.fixture
    def encode(self, kind: str, tiny_student_folder: Callable[..., Path]) -> Callable[..., Any]:
        model = str(tiny_student_folder("llama")) if kind == "huggingface" else None
        config = EncoderConfig(kind=kind, model=model, dimension=16, batch_size=2, max_tokens=64)

        def encode(pairs: list[tuple[str, str]], progress: Any = None) -> np.ndarray:
            found: Encoder = registry.find("encoders", kind)
            return found(pairs, config, seed=0, device="cpu", progress=progress or Silent())

        return encode

    def test_one_finite_float32_row_per_pair_and_progress_adds_up(self, encode: Callable[..., Any]) -> None:
        progress = Counted()
        vectors_NF = encode(PAIRS, progress)
        assert (vectors_NF.dtype, len(vectors_NF), vectors_NF.ndim) == (np.float32, len(PAIRS), 2)
        assert np.isfinite(vectors_NF).all()
        assert progress.steps == len(PAIRS)
        assert len(np.unique(vectors_NF, axis=0)) == len(PAIRS), "different texts, different rows"

    def test_a_row_depends_on_its_own_pair_only(self, encode: Callable[..., Any]) -> None:
        vectors_NF = encode(PAIRS)
        np.testing.assert_allclose(encode(PAIRS[::-1])[::-1], vectors_NF, atol=2e-5)
        for row, pair in enumerate(PAIRS):
            np.testing.assert_allclose(encode([pair])[0], vectors_NF[row], atol=2e-5)

    def test_question_and_path_both_count(self, encode: Callable[..., Any]) -> None:
        first, other_path, other_question = encode([("one", "two"), ("one", "three"), ("four", "two")])
        assert not np.allclose(first, other_path, atol=1e-3)
        assert not np.allclose(first, other_question, atol=1e-3)


PROMPTS = ["Ann has 3 apples.\n", "x - 5 = 12\nThink step by step.\n", "Bob\n", "A hen has 2 legs, " * 3 + "\n"]


@pytest.fixture(scope="module", params=registry.bundled("engines"))
def write(
    request: pytest.FixtureRequest, tiny_student_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Writer]:
    engine, tmp_path = request.param, tmp_path_factory.mktemp("engine")
    student = StudentConfig(name="s", model=str(tiny_student_folder("mistral")), max_context=80)
    with ExitStack() as held:
        given: dict[str, str] = {"kind": engine}
        if engine == "vllm":
            stand_in_for_vllm(held.enter_context(pytest.MonkeyPatch.context()))
        if engine == "openai":
            served = Served(load_student(student, base_dir=tmp_path))
            held.enter_context(serving(served))
            given["base_url"] = served.url
        config = EvaluateConfig.model_validate({"engine": given}).engine
        write = held.enter_context(Engine(config, Surroundings(student, tmp_path, "cpu", 0, Silent(), 3)))
        yield partial(write, max_tokens=6)


class TestEveryEngine:
    def test_samples_completions_per_prompt_in_order(self, write: Writer) -> None:
        found = write(PROMPTS, samples=2)
        assert [len(row) for row in found] == [2] * len(PROMPTS)
        for first, second in found:  # greedy
            assert (first.text, first.tokens, first.finish_reason) == (second.text, second.tokens, second.finish_reason)
            assert first.logprob == pytest.approx(second.logprob, abs=1e-4)
        assert [row[0].text for row in found] == [write([prompt])[0][0].text for prompt in PROMPTS]
        assert [row[0].text for row in write(PROMPTS[::-1])[::-1]] == [row[0].text for row in found]

    def test_a_completion_says_how_it_ended(self, write: Writer) -> None:
        for [one] in write(PROMPTS):
            assert 0 < one.tokens <= 6
            assert one.logprob < 0
            assert (one.finish_reason == "length") <= (one.tokens == 6)
            assert one.finish_reason in ("stop", "length")

    def test_samples_follow_the_seed(self, write: Writer) -> None:
        def texts(seed: int) -> list[list[str]]:
            return [[one.text for one in row] for row in write(PROMPTS[:2], samples=3, temperature=1.0, seed=seed)]

        first = texts(1)
        assert first == texts(1) != texts(2)
        assert any(len(set(row)) > 1 for row in first)

    def test_a_full_context_is_an_empty_answer_and_no_prompt_is_none(self, write: Writer) -> None:
        assert write([]) == []
        [[full], [short]] = write(["word " * 100, PROMPTS[0]])
        assert (full.text, full.tokens, full.finish_reason) == ("", 0, "length")
        assert short.tokens > 0
