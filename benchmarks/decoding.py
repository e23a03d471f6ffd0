"""How fast students write: tokens per CPU second against HF generate at batch 8, in one interleaved run.

    OMP_NUM_THREADS=1 python benchmarks/decoding.py [--rounds 3] [--prompts 64]

One thread, medians over rounds. Random students do not stop by themselves, so every completion gets a drawn
length of 40-160 tokens, the same for both sides.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import warnings
from pathlib import Path
from typing import Any

import tiny
import torch

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=64)
    options = parser.parse_args()
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    draw = random.Random(0)
    limits = [draw.randint(40, 160) for _ in range(options.prompts)]
    rows: dict[str, tuple[float, str, str]] = {}
    with tempfile.TemporaryDirectory() as work:
        for family in tiny.FAMILIES:
            folder = tiny.make_student(family, Path(work, family))
            student = load_student(StudentConfig(name=family, model=str(folder)), base_dir=Path(work))
            student.codec.stop_ids = frozenset()
            plain = AutoModelForCausalLM.from_pretrained(folder).eval()
            prompts = [student.codec.prompt_ids(tiny.words(draw, draw.randint(40, 80)) + "\n") for _ in limits]
            rates = tiny.interleave(
                {
                    "ours": lambda s=student, p=prompts: ours(s, p, limits, 64),
                    "ours 32": lambda s=student, p=prompts: ours(s, p, limits, 32),
                    "generate": lambda m=plain, p=prompts: generate(m, p, limits, 8),
                },
                options.rounds,
            )
            base = rates["generate"]
            note = f"{rates['ours']:.0f} tokens per CPU second"
            rows[f"{family}: batch 64 over HF generate at batch 8"] = (rates["ours"] / base, ">= 2.2", note)
            rows[f"{family}: batch 32 over HF generate at batch 8"] = (rates["ours 32"] / base, "", "")
    print(tiny.table("decoding", rows))


if __name__ == "__main__":
    main()
