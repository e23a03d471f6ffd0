from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from qrdistill.base.records import Question, ReasoningPath
from qrdistill.paths.styles import STYLES, student_prompt
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.students.config import StudentConfig
from qrdistill.students.loading import load_student
from qrdistill.students.tokens import Codec, Encoded
from qrdistill.training import data as training_data
from qrdistill.training.config import TrainConfig
from qrdistill.training.data import Material, Order, hinted, standardised
from qrdistill.training.methods.hidden_agreement import shared_paths
from qrdistill.training.methods.router_watch import RouterWatch
from qrdistill.training.optimizers import schedule
from qrdistill.training.step_batches import StepBatches


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 60), size=st.integers(1, 20), seed=st.integers(0, 5))
def test_an_epoch_holds_no_path_twice_and_steps_are_full(count: int, size: int, seed: int) -> None:
    rows = list(range(10, 10 + count))
    order = Order(rows, [f"q{row // 3}" for row in rows], size=size, seed=seed)
    per_epoch = count // min(size, count)
    for epoch in range(2):
        drawn = Counter(row for k in range(per_epoch) for row in order.rows(epoch * per_epoch + k).tolist())
        assert set(drawn.values()) == {1}
        assert sum(drawn.values()) == per_epoch * min(size, count)
        assert set(drawn) <= set(rows)


def test_order_is_a_function_of_seed_and_step() -> None:
    rows, names = list(range(40)), [f"q{row // 4}" for row in range(40)]
    first, second, other = (Order(rows, names, size=8, seed=seed) for seed in (0, 0, 1))
    for step in (7, 0, 3):
        assert first.rows(step).tolist() == second.rows(step).tolist()
    assert first.rows(0).tolist() != other.rows(0).tolist()
    assert first.rows(0).tolist() != first.rows(5).tolist()  # a new permutation per epoch


def test_by_questions_a_questions_paths_meet() -> None:
    rows, names = list(range(40)), [f"q{row // 4}" for row in range(40)]
    order = Order(rows, names, size=8, seed=0, by="questions")
    for step in range(5):
        assert len({row // 4 for row in order.rows(step).tolist()}) == 2


def test_style_dropout_is_its_share_and_repeats() -> None:
    draws = [hinted(0, step, f"p{path}", 0.1) for step in range(50) for path in range(40)]
    assert 0.87 < sum(draws) / len(draws) < 0.93
    assert draws == [hinted(0, step, f"p{path}", 0.1) for step in range(50) for path in range(40)]
    assert all(hinted(0, 1, f"p{path}", 0.0) for path in range(40))
    assert not any(hinted(0, 1, f"p{path}", 1.0) for path in range(40))


def test_shared_paths_are_their_share_and_spare_fixed_ones() -> None:
    names = [f"p{index}" for index in range(32)]
    chosen = shared_paths(0, 3, names, [True] * 32, 0.25)
    assert len(chosen) == len(set(chosen)) == 8
    assert chosen == sorted(chosen)
    assert chosen != shared_paths(0, 4, names, [True] * 32, 0.25)
    assert shared_paths(0, 3, names, [False] * 32, 0.25) == []
    assert len(shared_paths(0, 3, names[:2], [True] * 2, 0.1)) == 1


def test_schedules_warm_up_and_come_down() -> None:
    for kind, last in (("cosine", 0.0), ("linear", 0.0), ("constant", 1.0)):
        config = TrainConfig(steps=100, warmup=10, schedule=kind)  # type: ignore[arg-type]
        values = [schedule(config, step) for step in range(101)]
        assert values[0] == 0.1
        assert values[9] == values[10] == 1.0
        assert abs(values[100] - last) < 1e-12
        assert values[10:] == sorted(values[10:], reverse=True)


def watched(soft: list[float], steps: int = 20) -> tuple[list[str], RouterWatch]:
    watch = RouterWatch(["a", "b"], window=20)
    told = [watch.observe(step, torch.tensor([soft, soft])) for step in range(steps)]
    return [message for message in told if message], watch


def test_collapse_is_said_once_over_a_full_window() -> None:
    told, watch = watched([0.97, 0.03], steps=40)
    assert len(told) == 1
    assert "97% of the paths went to a" in told[0]
    assert watch.closing() is None
    assert watched([0.97, 0.03], steps=19)[0] == []
    assert watched([0.85, 0.15])[0] == []


def test_near_random_is_what_tells_nothing_about_the_path() -> None:
    told, watch = watched([0.6, 0.4])  # the same for every path: nothing is known, though not uniform
    assert told == []
    assert "near-random assignment" in (watch.closing() or "")
    sure = RouterWatch(["a", "b"], window=20)
    for step in range(20):
        sure.observe(step, torch.tensor([[0.9, 0.1], [0.1, 0.9]]))
    assert sure.closing() is None
    assert sure.information() > 0.3


def test_embeddings_are_standardised_over_what_was_embedded() -> None:
    generator = np.random.default_rng(0)
    vectors = (generator.standard_normal((50, 4)) * [1, 10, 0.1, 1] + [0, 5, 2, -1]).astype(np.float32)
    padded = np.concatenate([vectors, np.zeros((30, 4), np.float32)])
    features = standardised(padded, list(range(80)))
    torch.testing.assert_close(features[:50].mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(features[:50].std(0, unbiased=False), torch.ones(4), atol=1e-4, rtol=0)
    assert standardised(padded[50:], [0, 1]).tolist() == [[0.0] * 4] * 2
    assert standardised(None, [0, 1, 2]).shape == (3, 0)


def test_a_tokenizer_that_loses_text_is_counted(
    tiny_student_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_student_folder("llama", seed=4)
    student = load_student(StudentConfig(name="ada", model=str(folder)), base_dir=Path("/"))
    facts = {"split": "train", "task": "t", "family": "f", "kind": "number", "gold": "7"}
    asked = {
        name: Question(id=name, question=text, **facts) for name, text in (("q", "3 + 4?"), ("r", "\u00bd of 14?"))
    }
    texts = [("q", "7"), ("q", "It is 7."), ("r", "\u00bd of 14 is 7.")]
    paths = [
        ReasoningPath(id=str(n), question_id=name, teacher="t", style="x", prompt_hash="", text=text, answer="7")
        for n, (name, text) in enumerate(texts)
    ]
    assert Material(asked, paths, [student], {}).lost_text() == []
    letters = {letter: place for place, letter in enumerate(("</s>", "<unk>", *" 0123456789.+?Itisof\n"))}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")
    student.codec = Codec(fast, name="ada")
    (warning,) = Material(asked, paths, [student], {}).lost_text()
    assert "student ada: its tokenizer loses text" in warning
    assert "in 1 of the 3 paths looked at and in 1 of their prompts" in warning
    monkeypatch.setattr(training_data, "_LOOKED_AT", 1)
    material = Material(asked, paths, [student], {})
    assert material.lost_text() == []  # the first path is as it should be
    material.tokenize([1, 2], [True, False])
    assert material.lost_text() == [warning]
    assert material.lost_text() == []


def test_the_next_steps_tokens_are_made_while_a_step_is_computed(
    tiny_student_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    students = [
        load_student(StudentConfig(name=name, model=str(tiny_student_folder("llama", tokenizer=kind))), base_dir=Path())
        for name, kind in (("ada", "byte_level"), ("bob", "metaspace"))
    ]
    asked = {"q": Question(id="q", question="How many?", gold="7", split="train", task="t", family="f", kind="number")}
    paths = [
        ReasoningPath(
            id=f"p{n}", question_id="q", teacher="t", style="program", prompt_hash="", text=f"So {n}.", answer=""
        )
        for n in range(40)
    ]
    material = Material(asked, paths, students, STYLES)
    made: list[tuple[str, str, int]] = []
    encode_all = Codec.encode_all

    def watched(self: Codec, pairs: Sequence[tuple[str, str]]) -> list[Encoded]:
        made.append((threading.current_thread().name.partition("_")[0], self.name, len(pairs)))
        return encode_all(self, pairs)

    monkeypatch.setattr(Codec, "encode_all", watched)
    order = Order(range(40), ["q"] * 40, size=8, seed=0)
    config = TrainConfig(steps=4, style_dropout=0.5)
    ledger = Ledger(40, ("ada", "bob"))
    batches = StepBatches(material, order, torch.zeros(40, 2, dtype=torch.bool), ledger, config=config, seed=0)
    for step in range(4):
        batch = batches.batch(step)
        for b, row in enumerate(batch.request.rows):
            style = STYLES["program"] if batch.hinted[b] else None
            expected = [one.encode(student_prompt("How many?", style), paths[row].text) for one in students]
            assert [batch.encoded(s, b) for s in (0, 1)] == expected
    thread = {"MainThread": 2, "tokens": 6}
    assert Counter(where for where, _, _ in made) == thread
    assert sum(number for _, _, number in made) == 4 * 8 * 2  # each once
