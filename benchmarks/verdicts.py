"""Answers checked per second: `check_many` against plain math-verify, and memory over a long stream.

    python benchmarks/verdicts.py                  5,000 mixed answers, 1,000,000 numeric ones
    python benchmarks/verdicts.py --quick          400 and 50,000, for a test of the script itself

Both checkers see the same (gold, completion) pairs in small interleaved blocks of one run, so that a
busy machine slows both. Reported: the ratio of wall seconds, how often both decide and disagree (the
goal is none), what only one of them decides, and how much resident memory grew over the stream.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from qrdistill.answers.check import check_many
from qrdistill.base.records import Question

BLOCK = 500


def question(kind: str, gold: str, text: str = "What is the value?") -> Question:
    return Question(id="q", split="test", task="bench", family="bench", kind=kind, question=text, gold=gold)


def mixed(count: int, seed: int) -> list[tuple[Question, str]]:
    """Answers as a teacher writes them to a set like MATH: integers, decimals, fractions, money, lists,
    intervals, roots and polynomials; three in ten are wrong. One in six needs algebra
    to be decided, one in thirty-three (rational functions, trigonometry, unions) a worker process."""
    draw = random.Random(seed)
    pairs: list[tuple[Question, str]] = []
    for _ in range(count):
        a, b, c = draw.randint(2, 40), draw.randint(2, 12), draw.randint(2, 9)
        off = draw.choice([1, 2, 5]) if draw.random() < 0.3 else 0
        family = draw.random()
        if family < 0.35:
            gold, answer = str(a * b * c), f"{a * b * c + off:,}"
        elif family < 0.5:
            gold, answer = (
                rf"\frac{{{a}}}{{{b}}}",
                rf"\dfrac{{{a * c}}}{{{b * c}}}" if not off else rf"\frac{{{a + off}}}{{{b}}}",
            )
        elif family < 0.6:
            gold, answer = f"{a}.{b}", f"{a + off}.{b}0"
        elif family < 0.7:
            gold, answer = f"{a * b}", rf"\${a * b + off}.00"
        elif family < 0.77:
            gold, answer = f"({a}, {b})", rf"\left({a}, {b + off}\right)"
        elif family < 0.83:
            gold, answer = f"{a}, {a + b}", f"{a + b + off}, {a}"
        elif family < 0.89:
            gold, answer = rf"{b}\sqrt{{2}}", rf"\sqrt{{{2 * b * b + off}}}"
        elif family < 0.93:
            gold, answer = f"x^2+{a + b}x+{a * b}", f"(x+{a})(x+{b + off})"
        elif family < 0.97:
            gold, answer = rf"{a}\pi", rf"{a + off} \pi"
        elif family < 0.985:
            gold, answer = rf"\frac{{{a}}}{{x+{b}}}", rf"\frac{{{a * c + off}}}{{{c}x+{b * c}}}"
        elif family < 0.995:
            gold, answer = rf"{a}\tan^2(y)+{a}", rf"{a + off}\sec^2(y)"
        else:
            gold, answer = (
                rf"[-\infty, {a}) \cup ({a + b}, \infty)",
                rf"[-\infty, {a}) \cup ({a + b + off}, \infty)",
            )
        closing = draw.choice(
            [r"The answer is $\boxed{{{}}}$.", r"Therefore, \boxed{{{}}}", "So the final answer is ${}$."]
        )
        text = f"We compute step by step: ${a} + {b} = {a + b}$ and go on from there.\n" + closing.format(answer)
        pairs.append((question("math", gold), text))
    return pairs


def plain_math_verify(gold: str, completion: str) -> bool | None:
    """What a user of math-verify writes: parse both, verify; None where an answer cannot be parsed."""
    from math_verify import parse, verify

    left, right = parse(f"${gold}$"), parse(completion)
    if not left or not right:
        return None
    return bool(verify(left, right))


def compare(count: int, seed: int) -> dict[str, object]:
    pairs = mixed(count, seed)
    plain_math_verify("1", "$1$")
    list(check_many([(question("math", r"\sqrt{8}"), r"\boxed{2\sqrt{2}}")]))  # starts the worker
    ours_seconds = theirs_seconds = 0.0
    both = only_ours = only_theirs = 0
    disagreements: list[dict[str, str]] = []
    for start in range(0, len(pairs), BLOCK):
        block = pairs[start : start + BLOCK]
        began = time.perf_counter()
        ours = list(check_many(block))
        between = time.perf_counter()
        theirs = [plain_math_verify(asked.gold or "", text) for asked, text in block]
        ours_seconds += between - began
        theirs_seconds += time.perf_counter() - between
        for (asked, text), mine, other in zip(block, ours, theirs, strict=True):
            if mine.outcome == "undecided" or other is None:
                only_ours += mine.outcome != "undecided"
                only_theirs += other is not None
                continue
            both += 1
            if (mine.outcome == "correct") != other:
                disagreements.append(
                    {"gold": asked.gold or "", "completion": text, "ours": mine.outcome, "theirs": str(other)}
                )
    return {
        "answers": count,
        "ratio": round(theirs_seconds / ours_seconds, 2),
        "ours_seconds": round(ours_seconds, 2),
        "math_verify_seconds": round(theirs_seconds, 2),
        "both_decide": both,
        "disagreements": len(disagreements),
        "examples": disagreements[:5],
        "only_ours": only_ours,
        "only_math_verify": only_theirs,
    }


def resident() -> float:
    """MiB of resident memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def stream(count: int, seed: int) -> dict[str, object]:
    """Numeric answers without end: resident memory after the first tenth, and at its highest after that."""
    draw = random.Random(seed)

    def pairs() -> Iterator[tuple[Question, str]]:
        for number in range(count):
            value = draw.randint(0, 10**6)
            yield (
                question("number", str(value)),
                f"Step {number}.\nThe answer is {value + (number % 3 == 0):,}.",
            )

    began = time.perf_counter()
    correct, settled, highest = 0, 0.0, 0.0
    for number, checked in enumerate(check_many(pairs()), start=1):
        correct += checked.outcome == "correct"
        if number == count // 10:
            settled = highest = resident()
        elif number % 5000 == 0:
            highest = max(highest, resident())
    return {
        "answers": count,
        "correct": correct,
        "expected": count - (count + 2) // 3,
        "growth_mib": round(highest - settled, 1),
        "resident_mib": round(highest, 1),
        "per_second": round(count / (time.perf_counter() - began)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--answers", type=int)
    parser.add_argument("--stream", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    answers = options.answers or (400 if options.quick else 5000)
    numeric = options.stream or (50_000 if options.quick else 1_000_000)
    result = {"mixed": compare(answers, options.seed), "stream": stream(numeric, options.seed)}
    print(json.dumps(result, indent=2, ensure_ascii=False))
    return int(bool(result["mixed"]["disagreements"]))


if __name__ == "__main__":
    sys.exit(main())
