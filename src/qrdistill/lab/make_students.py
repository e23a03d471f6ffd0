"""Makes the lab's base students: `python -m qrdistill.lab.make_students [NAME...] [--to DIR]`.

The tiny ones take about 110 seconds of one core each, and are deterministic on one machine: everything
follows from the seed, on one thread. The large ones want a GPU.

The schedule counts tokens, not steps: the learning rate falls along a cosine over `--tokens`, and of the
last tenths of the training the weights with the best dev accuracy are kept.

Tensor suffixes: B documents of a batch, T tokens.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers.utils import logging

from qrdistill.base.records import FREE
from qrdistill.lab import MADE
from qrdistill.lab.mistakes import sound
from qrdistill.lab.pretraining import RECIPES, TINY, Document, Recipe, documents
from qrdistill.lab.questions import problems
from qrdistill.lab.render import OPENINGS, render
from qrdistill.lab.templates import Problem
from qrdistill.lab.tokenizers import build_tokenizer
from qrdistill.paths.styles import STYLES, student_prompt

_WARMUP = 0.03  # share of the tokens
_POOL = 16  # batches that are sorted by length together, so that little is padded
_KEEP_FROM = 0.8  # share of the tokens after which weights may be kept
_LOOKS = 5  # dev evaluations from there to the end, the last one there
_DEV = 100  # questions
_DEV_HARD = 0.5  # share of long questions among them, and in the texts that tokenizers are built from


class _Kept(NamedTuple):
    reached: float  # the mean of free accuracy and of the mean over its own styles
    accuracies: dict[str, float]
    weights: dict[str, Tensor]


def make_student(
    name: str,
    folder: Path,
    *,
    seed: int = 0,
    tokens: int | None = None,
    dev: int = _DEV,
    looks: int = _LOOKS,
) -> dict[str, float]:
    """Trains one base student and writes it as a Hugging Face folder; returns its dev accuracies.

    `looks` evaluations on `dev` dev questions choose among the late states; with none the last is kept.
    """
    recipe = RECIPES[name]
    seed += recipe.seed
    tokens = tokens or recipe.tokens
    torch.manual_seed(seed)
    tokenizer = _tokenizer(recipe)
    model = _model(recipe, tokenizer)
    device = "cuda" if recipe.size == "large" and torch.cuda.is_available() else "cpu"
    model.to(device)
    asked = list(islice(problems("dev", 0, size=recipe.size, hard=_DEV_HARD), dev))
    size = sum(parameter.numel() for parameter in model.parameters())
    _say(f"{name}: {size:,} parameters, {len(tokenizer)} tokenizer entries, {tokens:,} tokens, on {device}")

    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, betas=(0.9, 0.95), weight_decay=0.01)
    started, seen, step, looked = time.process_time(), 0, 0, 0
    kept = _Kept(-1.0, {}, {})
    for ids_BT, labels_BT, num_tokens in _read(recipe, tokenizer, seed):
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * _schedule(seen / tokens)
        # right padding and a causal model: no position that counts can see a pad
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = model(input_ids=ids_BT.to(device), labels=labels_BT.to(device), use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen, step = seen + num_tokens, step + 1
        if step % 100 == 0:
            _say(f"{name}: {seen / tokens:4.0%} loss {loss.item():.3f} {time.process_time() - started:.0f} CPU seconds")
        due = 1 - (1 - _KEEP_FROM) * (looks - 1 - looked) / max(1, looks - 1)
        if seen >= due * tokens and looked < looks:
            looked += 1
            accuracies = evaluate(model, tokenizer, asked, longest=recipe.longest)
            _say(f"{name}: {seen / tokens:4.0%} dev accuracy {_percent(accuracies)}")
            own = sum(accuracies[style] for style in recipe.styles) / len(recipe.styles)
            if (reached := (own + accuracies[FREE]) / 2) > kept.reached:
                kept = _Kept(reached, accuracies, {k: v.clone() for k, v in model.state_dict().items()})
        if seen >= tokens:
            break
    if kept.weights:
        model.load_state_dict(kept.weights)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _say(f"{name}: written to {folder}, {time.process_time() - started:.0f} CPU seconds")
    return kept.accuracies


def evaluate(
    model: Any,
    tokenizer: Any,
    asked: Sequence[Problem],
    styles: Sequence[str] = (FREE, *OPENINGS),
    *,
    longest: int = RECIPES["gemma-tiny"].longest,
) -> dict[str, float]:
    """Greedy accuracy by style; `free` is without a hint."""
    model.eval()
    accuracies: dict[str, float] = {}
    for style in styles:
        prompts = [student_prompt(problem.text, STYLES.get(style)) for problem in asked]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left").to(model.device)
        with torch.no_grad():
            output_BT = model.generate(**batch, max_new_tokens=longest, do_sample=False)
        texts = tokenizer.batch_decode(output_BT[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        right = sum(text.endswith(f"\nThe answer is {p.gold}.") for text, p in zip(texts, asked, strict=True))
        accuracies[style] = right / len(asked)
    return accuracies


def _tokenizer(recipe: Recipe) -> Any:
    """Built from a fixed sample of the lab's texts: the same for every seed."""
    sample = islice(problems("pretraining", 0, size=recipe.size, hard=_DEV_HARD), 1000)
    texts = [
        student_prompt(problem.text, STYLES[style]) + render(problem, sound(problem), style)
        for problem in sample
        for style in OPENINGS
    ]
    return build_tokenizer(recipe.tokenizer, texts, size=recipe.entries, style=recipe.family)


def _model(recipe: Recipe, tokenizer: Any) -> Any:
    from transformers import GemmaConfig, GemmaForCausalLM, MistralConfig, MistralForCausalLM

    wanted = recipe.shape
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": wanted.hidden,
        "intermediate_size": wanted.intermediate,
        "num_hidden_layers": wanted.layers,
        "num_attention_heads": wanted.heads,
        "num_key_value_heads": wanted.heads,
        "head_dim": wanted.head_dim,
        "max_position_embeddings": 512,
        "initializer_range": wanted.spread,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    if recipe.family == "mistral":
        return MistralForCausalLM(MistralConfig(**shape, sliding_window=None))
    return GemmaForCausalLM(GemmaConfig(**shape))


class _Texts(IterableDataset[tuple[Tensor, Tensor, int]]):
    """The batches of one reading process: each has a seed of its own."""

    def __init__(self, recipe: Recipe, tokenizer: Any, seed: int) -> None:
        self._given = recipe, tokenizer, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        recipe, tokenizer, seed = self._given
        reader = get_worker_info()
        return _batches(recipe, tokenizer, seed + 1000 * (reader.id if reader else 0))


def _read(recipe: Recipe, tokenizer: Any, seed: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Batches without end, in an order that does not depend on how fast the readers are."""
    return iter(DataLoader(_Texts(recipe, tokenizer, seed), batch_size=None, num_workers=recipe.readers))


def _batches(recipe: Recipe, tokenizer: Any, seed: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Padded ids, labels (-100 on prompts and pads) and the number of real tokens, without end."""
    rng = Random(f"qrdistill batches {seed}")
    source = documents(recipe, seed)
    while True:
        pool = [_encoded(document, tokenizer) for document in islice(source, recipe.batch * _POOL)]
        pool.sort(key=lambda pair: len(pair[0]))
        groups = [pool[start : start + recipe.batch] for start in range(0, len(pool), recipe.batch)]
        rng.shuffle(groups)
        for group in groups:
            longest = len(group[-1][0])
            ids = [ids + [tokenizer.pad_token_id] * (longest - len(ids)) for ids, _ in group]
            labels = [labels + [-100] * (longest - len(labels)) for _, labels in group]
            yield torch.tensor(ids), torch.tensor(labels), sum(len(ids) for ids, _ in group)


def _encoded(document: Document, tokenizer: Any) -> tuple[list[int], list[int]]:
    ids: list[int] = []
    labels: list[int] = []
    for piece in document:
        tokens: list[int] = tokenizer(piece.text).input_ids
        ids += tokens
        labels += tokens if piece.learned else [-100] * len(tokens)
    return [*ids, tokenizer.eos_token_id], [*labels, tokenizer.eos_token_id]


def _schedule(done: float) -> float:
    """Linear warm-up, then a cosine to a hundredth, over the share of tokens seen."""
    if done < _WARMUP:
        return (done + 1e-3) / _WARMUP
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - _WARMUP) / (1 - _WARMUP))))


def _percent(accuracies: dict[str, float]) -> str:
    return ", ".join(f"{style} {accuracy:.0%}" for style, accuracy in accuracies.items())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m qrdistill.lab.make_students",
        description="Make the lab's base students from nothing: about 110 seconds of one core for each tiny one; "
        "the large ones want a GPU, and are found from where they were made (lab:mistral-large).",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(RECIPES)} (the tiny ones)")
    parser.add_argument("--to", type=Path, default=MADE, metavar="DIR", help="%(default)s")
    parser.add_argument("--seed", type=int, default=0, help="0 makes the shipped ones")
    parser.add_argument(
        "--tokens",
        type=int,
        help="tokens to train on (2 to 2.6 million for a tiny one, 60 million for a large one)",
    )
    parser.add_argument("--dev", type=int, default=_DEV, help="dev questions to choose by (%(default)s)")
    parser.add_argument("--looks", type=int, default=_LOOKS, help="at so many late states (%(default)s)")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in RECIPES]
    if unknown:
        parser.error(f"unknown student {unknown[0]!r}; known: {', '.join(RECIPES)}")
    logging.disable_progress_bar()
    torch.set_num_threads(1)  # one order of summation, and several can be made side by side
    for name in given.names or TINY:
        make_student(name, given.to / name, seed=given.seed, tokens=given.tokens, dev=given.dev, looks=given.looks)


if __name__ == "__main__":
    main()
