"""How fast students write: tokens per CPU second against HF generate at the same batch, in one interleaved run.

    OMP_NUM_THREADS=1 python benchmarks/decoding.py [--rounds 3] [--batches 8,32,64] [--model FOLDER --data DIR]

One thread, medians over rounds. Random students do not stop by themselves, so every completion gets a drawn length of
40-160 tokens, the same for both sides. With `--model`: a pretrained one on GSM8K questions (DIR holds
gsm8k/example_model_solutions.jsonl), each completion as long as an LLM's solution of its question; `questions` asks
each once, `styles` asks each in six styles, as an evaluation does. `--each`: prompts for
each row of a batch.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import real
import tiny
import torch

from qrdistill.paths.styles import STYLES, VANILLA, student_prompt
from qrdistill.students.config import StudentConfig
from qrdistill.students.decode.decode import decode_requests
from qrdistill.students.decode.sampler import Request
from qrdistill.students.loading import load_student
from qrdistill.students.student import Student


def ours(student: Student, prompts: list[tuple[int, ...]], limits: list[int], batch_size: int) -> float:
    requests = [Request(p, torch.zeros(limit), limit) for p, limit in zip(prompts, limits, strict=True)]
    decode_requests(student, requests, batch_size=batch_size, temperature=0.0)
    assert [len(request.written) for request in requests] == limits
    return sum(limits)


def generate(model: Any, prompts: list[tuple[int, ...]], limits: list[int], batch_size: int) -> float:
    """Length-sorted, left-padded batches; a row that is done waits for its batch, as in transformers."""
    from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

    order = sorted(range(len(prompts)), key=lambda at: -len(prompts[at]))
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        longest = max(len(prompts[at]) for at in part)
        tokens, mask = torch.ones(2, len(part), longest, dtype=torch.long)
        for row, at in enumerate(part):
            tokens[row, longest - len(prompts[at]) :] = torch.tensor(prompts[at])
            mask[row, : longest - len(prompts[at])] = 0
        ends = torch.tensor([limits[at] for at in part])

        class Drawn(StoppingCriteria):
            def __call__(self, ids: Any, scores: Any, longest: int = longest, ends: Any = ends, **_: Any) -> Any:
                return ids.shape[1] - longest >= ends

        model.generate(
            tokens,
            attention_mask=mask,
            generation_config=GenerationConfig(max_new_tokens=int(ends.max()), do_sample=False, pad_token_id=1),
            stopping_criteria=StoppingCriteriaList([Drawn()]),
        )
    return sum(limits)


Asked = tuple[list[tuple[int, ...]], list[int]]
"""Prompts, and how many tokens each completion takes."""


def drawn(student: Student, count: int) -> Asked:
    draw = random.Random(0)
    prompts = [student.codec.prompt_ids(tiny.words(draw, draw.randint(40, 80)) + "\n") for _ in range(count)]
    return prompts, [draw.randint(40, 160) for _ in range(count)]


def gsm8k(student: Student, count: int, data: Path, *, styles: bool) -> Asked:
    rows = real.solved(data)
    random.Random(0).shuffle(rows)
    asked = list(STYLES.values()) if styles else [VANILLA]
    paths = [
        student.encode(student_prompt(question, style), written[at % len(written)][1])
        for question, written in rows[: count // len(asked) + 1]
        for at, style in enumerate(asked)
    ][:count]
    return [path.prompt_ids for path in paths], [path.num_targets for path in paths]


def against_generate(folder: Path, options: argparse.Namespace, name: str) -> dict[str, tuple[float, str, str]]:
    from transformers import AutoModelForCausalLM

    student = load_student(StudentConfig(name="student", model=str(folder)), base_dir=Path())
    student.codec.stop_ids = frozenset()
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    rows: dict[str, tuple[float, str, str]] = {}
    for batch in map(int, options.batches.split(",")):
        pools = (
            {"drawn": drawn(student, options.each * batch)}
            if options.model is None
            else {
                kind: gsm8k(student, options.each * batch, options.data, styles=kind == "styles")
                for kind in options.ask.split(",")
            }
        )
        for kind, (prompts, limits) in pools.items():
            arms = {
                "ours": lambda p=prompts, n=limits, b=batch: ours(student, p, n, b),
                "generate": lambda p=prompts, n=limits, b=batch: generate(plain, p, n, b),
            }
            rates = tiny.interleave(arms, options.rounds, uncounted=options.model is None)
            note = f"{rates['ours']:.0f} tokens per CPU second"
            key = f"{name}, {kind}: over HF generate, both at batch {batch}"
            rows[key] = (rates["ours"] / rates["generate"], ">= 1.5" if batch > 8 else "", note)
            print(tiny.table("decoding", {key: rows[key]}), file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", default="8,32,64")
    parser.add_argument("--each", type=int, default=3, help="prompts for each row of a batch")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--ask", default="questions,styles")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows: dict[str, tuple[float, str, str]] = {}
    if options.model is not None:
        rows = against_generate(options.model, options, options.model.name)
    else:
        with tempfile.TemporaryDirectory() as work:
            for family in tiny.FAMILIES:
                rows |= against_generate(tiny.make_student(family, Path(work, family)), options, family)
    print(tiny.table("decoding", rows))


if __name__ == "__main__":
    main()
