"""Makes the lab's base students: `python -m qrdistill.lab.make_students [NAME...] [--to DIR]`.

About 110 seconds of one core each. Deterministic on one machine: everything follows from the seed,
on one thread. The schedule counts tokens, not steps: the learning rate falls along a cosine over
`--tokens`, and of the last tenths of the training the weights with the best dev accuracy are kept.
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
from transformers.utils import logging

from qrdistill.lab.mistakes import sound
from qrdistill.lab.pretraining import RECIPES, Document, Recipe, documents
from qrdistill.lab.questions import problems
from qrdistill.lab.render import OPENINGS, render
from qrdistill.lab.templates import Problem
from qrdistill.lab.tokenizers import build_tokenizer
from qrdistill.paths.styles import STYLES, student_prompt
from qrdistill.records import FREE

_BATCH = 32
_RATE = 3e-3
_WARMUP = 0.03  # share of the tokens
_POOL = 16  # batches that are sorted by length together, so that little is padded
_KEEP_FROM = 0.8  # share of the tokens after which weights may be kept
_LOOKS = 5  # dev evaluations from there to the end, the last one there
_DEV = 100  # questions
_DEV_HARD = 0.5  # share of three-step questions among them, and in the texts that tokenizers are built from
_LONGEST = 110  # tokens of a completion


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
    asked = list(islice(problems("dev", 0, hard=_DEV_HARD), dev))
    size = sum(parameter.numel() for parameter in model.parameters())
    _say(f"{name}: {size:,} parameters, {len(tokenizer)} tokenizer entries, {tokens:,} tokens")

    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    started, seen, step, looked = time.process_time(), 0, 0, 0
    kept = _Kept(-1.0, {}, {})
    for ids_BT, labels_BT, num_tokens in _batches(recipe, tokenizer, seed):
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = _RATE * _schedule(seen / tokens)
        # right padding and a causal model: no position that counts can see a pad
        loss = model(input_ids=ids_BT, labels=labels_BT, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen, step = seen + num_tokens, step + 1
        if step % 100 == 0:
            _say(
                f"{name}: {seen / tokens:4.0%} loss {loss.item():.3f} {time.process_time() - started:.0f} CPU seconds"
            )
        due = 1 - (1 - _KEEP_FROM) * (looks - 1 - looked) / max(1, looks - 1)
        if seen >= due * tokens and looked < looks:
            looked += 1
            accuracies = evaluate(model, tokenizer, asked)
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
    model: Any, tokenizer: Any, asked: Sequence[Problem], styles: Sequence[str] = (FREE, *OPENINGS)
) -> dict[str, float]:
    """Greedy accuracy by style; `free` is without a hint."""
    model.eval()
    accuracies: dict[str, float] = {}
    for style in styles:
        prompts = [student_prompt(problem.text, STYLES.get(style)) for problem in asked]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        with torch.no_grad():
            output_BT = model.generate(**batch, max_new_tokens=_LONGEST, do_sample=False)
        texts = tokenizer.batch_decode(output_BT[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        right = sum(text.endswith(f"\nThe answer is {p.gold}.") for text, p in zip(texts, asked, strict=True))
        accuracies[style] = right / len(asked)
    return accuracies


def _tokenizer(recipe: Recipe) -> Any:
    """Built from a fixed sample of the lab's texts: the same for every seed."""
    sample = islice(problems("pretraining", 0, hard=_DEV_HARD), 1000)
    texts = [
        student_prompt(problem.text, STYLES[style]) + render(problem, sound(problem), style)
        for problem in sample
        for style in OPENINGS
    ]
    return build_tokenizer(recipe.tokenizer, texts, size=recipe.entries, style=recipe.family)


def _model(recipe: Recipe, tokenizer: Any) -> Any:
    from transformers import GemmaConfig, GemmaForCausalLM, MistralConfig, MistralForCausalLM

    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 80, "intermediate_size": 128, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 20, "max_position_embeddings": 512,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id, "tie_word_embeddings": True,
        "initializer_range": 0.08,  # of so small a model: at the usual 0.02 it learns to copy much later
    }  # fmt: skip
    if recipe.family == "mistral":
        return MistralForCausalLM(MistralConfig(**shape, sliding_window=None))
    return GemmaForCausalLM(GemmaConfig(**shape))


def _batches(recipe: Recipe, tokenizer: Any, seed: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Padded ids, labels (-100 on prompts and pads) and the number of real tokens, without end."""
    rng = Random(f"qrdistill batches {seed}")
    source = documents(recipe, seed)
    while True:
        pool = [_encoded(document, tokenizer) for document in islice(source, _BATCH * _POOL)]
        pool.sort(key=lambda pair: len(pair[0]))
        groups = [pool[start : start + _BATCH] for start in range(0, len(pool), _BATCH)]
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
        description="Make the lab's base students from nothing: about 110 seconds of one core each.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(RECIPES)} (all)")
    parser.add_argument("--to", type=Path, default=Path("lab-students"), metavar="DIR", help="%(default)s")
    parser.add_argument("--seed", type=int, default=0, help="0 makes the shipped ones")
    parser.add_argument(
        "--tokens", type=int, help="tokens to train on (2.6 million Mistral, 2 million Gemma)"
    )
    parser.add_argument("--dev", type=int, default=_DEV, help="dev questions to choose by (%(default)s)")
    parser.add_argument("--looks", type=int, default=_LOOKS, help="at so many late states (%(default)s)")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in RECIPES]
    if unknown:
        parser.error(f"unknown student {unknown[0]!r}; known: {', '.join(RECIPES)}")
    logging.disable_progress_bar()
    torch.set_num_threads(1)  # one order of summation, and several can be made side by side
    for name in given.names or RECIPES:
        make_student(
            name, given.to / name, seed=given.seed, tokens=given.tokens, dev=given.dev, looks=given.looks
        )


if __name__ == "__main__":
    main()
