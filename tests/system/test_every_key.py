"""Two tiny runs, from questions to report, that set what no example sets."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qrdistill import run
from qrdistill.base.errors import ConfigError
from qrdistill.questions.config import QuestionsConfig
from qrdistill.questions.load import load_questions

pytestmark = pytest.mark.filterwarnings("ignore")  # peft's and bitsandbytes' own


def tiny(students: list[dict[str, Any]], **sections: Any) -> dict[str, Any]:
    common: dict[str, Any] = {
        "name": "tiny",
        "questions": {"task": "lab", "train": 12, "dev": 4, "test": 4},
        "paths": {"styles": ["vanilla", "program"]},
        "train": {"steps": 3, "paths_per_step": 4, "warmup": 1},
        "evaluate": {"max_tokens": 8, "styles": ["vanilla"]},
        "students": students,
    }
    return {**common, **{name: {**common.get(name, {}), **keys} for name, keys in sections.items()}}


def test_adapters_and_a_frozen_encoder(tmp_path: Path, tiny_student_folder: Callable[..., Path]) -> None:
    model = {"model": str(tiny_student_folder("mistral")), "trust_remote_code": True}
    lora = {"rank": 2, "alpha": 4.0, "targets": ["q_proj"]}
    students = [
        {"name": "plain", **model, "weight_decay": 0.1, "betas": [0.8, 0.9], "max_context": 200},
        {"name": "root", **model, "lora": {**lora, "rslora": True}, "quantize": "nf4", "learning_rate": 1e-3},
        {"name": "split", **model, "lora": {**lora, "dora": True, "dropout": 0.0}, "dtype": "float32"},
    ]
    encoder = {
        "kind": "huggingface",
        "model": model["model"],
        "max_tokens": 64,
        "batch_size": 4,
        "trust_remote_code": True,
    }
    finished = run(
        tiny(
            students,
            encoder=encoder,
            router={"learning_state": False, "entropy": 0.1, "peer_loss": "fresh"},
            mutual={"weight": 0.1, "span": "word", "gate": "better_peer", "dimension": 8, "share": 0.5},
            train={
                "schedule": "linear",
                "style_dropout": 0.5,
                "order": "questions",
                "shared_prefix": False,
                "device": "auto",
            },
            filter={"language": True, "leak": True, "max_characters": 5000, "program": True},
        ),
        tmp_path / "run",
    )
    assert finished.config.encoder.kind == "huggingface"
    vectors = np.load(tmp_path / "run" / "embeddings.npy")
    assert vectors.shape == (sum(row.outcome == "keep" and row.check == "filter" for row in finished.verdicts()), 32)
    assert {path.name for path in (tmp_path / "run" / "students").iterdir()} == {"plain", "root", "split"}
    assert {row.student for row in finished.assignments()} <= {"plain", "root", "split"}
    assert (tmp_path / "run" / "report.html").is_file()


def test_autocast_and_stopping_early(tmp_path: Path, tiny_student_folder: Callable[..., Path]) -> None:
    model = str(tiny_student_folder("mistral"))
    students = [{"name": name, "model": model, "learning_rate": 1e-5} for name in ("one", "two")]
    train = {
        "steps": 6,
        "schedule": "constant",
        "autocast": "bfloat16",
        "loss": "dft",
        "max_path_tokens": 200,
        "eval_every": 1,
        "eval_questions": 2,
        "patience": 1,
        "gradient_checkpointing": False,
        "clip": 0.5,
        "seed": 7,
        "keep_last": 1,
        "checkpoint_every": 1,
    }
    finished = run(tiny(students, train=train, router={"kind": "random"}), tmp_path / "run")
    steps = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert 1 <= len(steps) < 6  # a random student answers nothing, so the second evaluation is no better
    assert '"dev"' in steps[0]
    assert finished.scores
    assert not [*(tmp_path / "run").glob("checkpoints/step-*"), *(tmp_path / "run").glob("checkpoints/best")]


def test_what_is_left_open_follows_from_the_kept_paths(
    tmp_path: Path, tiny_student_folder: Callable[..., Path]
) -> None:
    """Steps from epochs, limits of answers and own paths from lengths, learning rates from what trains."""
    from transformers import AutoTokenizer

    model = str(tiny_student_folder("mistral"))
    students = [{"name": "full", "model": model}, {"name": "adapted", "model": model, "lora": {"rank": 2}}]
    settings = tiny(
        students,
        paths={"styles": ["vanilla"]},
        train={"steps": None, "epochs": 0.5, "autocast": "auto", "gradient_checkpointing": "auto"},
        router={"kind": "all"},
        own_paths={"rounds": 1, "samples": 1, "max_tokens": None},
        evaluate={"max_tokens": None},
    )
    finished = run(settings, tmp_path / "run", until="evaluate")
    kept = {row.path_id for row in finished.verdicts() if row.check == "filter" and row.outcome == "keep"}
    texts = [path.text for path in finished.paths() if path.id in kept]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == math.ceil(0.5 * len(texts) / 4)
    tokenizer = AutoTokenizer.from_pretrained(model)
    lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 1 for text in texts]
    limit = 8 * math.ceil(1.25 * max(lengths) / 8)  # of fewer than a hundred paths, the longest counts
    stages = finished.stages
    assert stages["evaluate"]["counts"]["max_tokens"] == stages["sample@1"]["counts"]["max_tokens"] == limit
    assert max(answer.tokens for answer in finished.answers()) == limit, "some random student never stops"
    rates = {student.name: student.learning_rate for student in finished.config.students}
    assert rates == {"full": 2e-5, "adapted": 2e-4}


def test_compiled_students_learn_what_others_learn(tmp_path: Path, tiny_student_folder: Callable[..., Path]) -> None:
    """Layers are traced, forward and backward, around our attention. What torch makes machine code of is run as it is:
    its compiler takes a minute."""
    from torch._dynamo.utils import counters
    from torch.compiler import set_stance

    students = [{"name": "one", "model": str(tiny_student_folder("mistral", num_hidden_layers=1))}]
    settings = tiny(students, train={"steps": 2, "paths_per_step": 2}, router={"kind": "all"})
    losses: list[list[float]] = []
    with set_stance("default", force_backend="aot_eager"):
        for compiled in (False, True):
            counters.clear()
            run(settings, tmp_path / str(compiled), [f"train.compile={compiled}"], until="train")
            assert (counters["frames"]["ok"] > 0) == compiled
            lines = (tmp_path / str(compiled) / "metrics.jsonl").read_text().splitlines()
            losses.append([json.loads(line)["imitate"] for line in lines])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize(("device", "words"), [("gpu", "names no device"), ("cuda:7", "is not here")])
def test_a_device_that_is_not_here(
    tmp_path: Path, tiny_student_folder: Callable[..., Path], device: str, words: str
) -> None:
    students = [{"name": "one", "model": str(tiny_student_folder("mistral"))}]
    with pytest.raises(ConfigError, match=f"train.device.*{words}"):
        run(tiny(students, train={"device": device}, router={"kind": "all"}), tmp_path / "run", until="train")


def test_each_split_has_a_file_of_its_own(tmp_path: Path) -> None:
    for split, answer in (("train", 1), ("dev", 2), ("test", 3)):
        (tmp_path / f"{split}.csv").write_text(f"question,gold\nWhat is {answer}?,{answer}\n")
    keys = {"train_file": "train.csv", "dev_file": "dev.csv", "test_file": "test.csv"}
    settings = QuestionsConfig(task="jsonl", kind="number", **keys)
    assert [row.split for row in load_questions(settings, seed=0, base_dir=tmp_path)] == ["train", "dev", "test"]
