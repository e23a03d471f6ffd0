"""What both benchmarks share: random students of about five million parameters, and synthetic paths.

Words are tokens, so that lengths are exactly what is asked for: questions of 40-80 tokens, paths of 40-250,
six styles per question.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

VOCABULARY = 4096
FAMILIES = ("mistral", "gemma")
PATHS_PER_STEP = 12


def make_student(family: str, folder: Path, seed: int = 0, **shape: Any) -> Path:
    """A Hugging Face folder: hidden 256, 5 layers, 8 heads, 4096 words; or of another `shape`."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    words = {"<unk>": 0, "<pad>": 1, "</s>": 2} | {f"w{at}": at for at in range(3, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    usual = {
        "vocab_size": VOCABULARY,
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 5,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "sliding_window": None,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }
    config = AutoConfig.for_model(family, **(usual | shape))
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def words(draw: random.Random, count: int) -> str:
    return " ".join(f"w{draw.randrange(3, VOCABULARY)}" for _ in range(count))


def texts(num_questions: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Questions, each with the texts of its six paths."""
    draw = random.Random(seed)
    return [
        (words(draw, draw.randint(40, 80)), [words(draw, draw.randint(40, 250)) for _ in range(6)])
        for _ in range(num_questions)
    ]


def lines(text: str) -> str:
    """The same tokens with a line break after every twelfth: the spans that students are compared over."""
    split = text.split()
    return "\n".join(" ".join(split[at : at + 12]) for at in range(0, len(split), 12))


def pool(given: list[tuple[str, list[str]]] | int) -> tuple[dict[str, Any], list[Any], Any]:
    """`texts`, given or so many, as questions, paths and random embeddings, for `train`."""
    import numpy as np

    from qrdistill.base.records import Question, ReasoningPath, path_id
    from qrdistill.paths.styles import STYLES

    questions: dict[str, Question] = {}
    paths: list[ReasoningPath] = []
    for at, (text, written) in enumerate(texts(given) if isinstance(given, int) else given):
        name = f"q{at}"
        questions[name] = Question(id=name, split="train", task="t", family="f", kind="text", question=text, gold="w3")
        for style, path in zip(STYLES, written, strict=True):
            paths.append(
                ReasoningPath(
                    id=path_id(0, name, "t", style, 0),
                    question_id=name,
                    teacher="t",
                    style=style,
                    prompt_hash="",
                    text=lines(path),
                    answer="w3",
                )
            )
    return questions, paths, np.random.default_rng(0).standard_normal((len(paths), 128), dtype=np.float32)


def interleave(arms: Mapping[str, Callable[[], Any]], rounds: int, *, uncounted: bool = True) -> dict[str, float]:
    """Median over rounds of useful tokens per CPU second; each arm returns its useful tokens, or these and
    the seconds that count.

    Every round runs every arm once, after one round that is not counted (unless arms are so long that it does not
    matter), so that the machine's moods and first-time costs reach all alike.
    """
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for round in range(0 if uncounted else 1, rounds + 1):
        for name, arm in arms.items():
            start = time.process_time()
            tokens = arm()
            seconds = time.process_time() - start
            if isinstance(tokens, tuple):
                tokens, seconds = tokens
            if round:
                rates[name].append(tokens / seconds)
    return {name: statistics.median(values) for name, values in rates.items()}


def table(title: str, rows: Mapping[str, tuple[float, str, Any]]) -> str:
    """A markdown table: row -> (measured, goal, note)."""
    lines = [f"| {title} | measured | goal | |", "| --- | --- | --- | --- |"]
    lines += [f"| {name} | {value:.2f} | {goal} | {note} |" for name, (value, goal, note) in rows.items()]
    return "\n".join(lines)
