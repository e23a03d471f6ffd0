"""The comparer against published verdicts on real answers, and against dates as people write them.

    python benchmarks/real_answers.py --data DIR

DIR holds `gsm8k/example_model_solutions.jsonl` (openai/grade-school-math: four models' solutions of the
1,319 test questions, each published with whether it is right) and `bigbench/date_understanding.json`
(BIG-bench: 369 questions). Reported: how many verdicts agree with the published ones, and of every date
written in every way how many are accepted where they are the gold answer, rejected where they are not.
Every disagreement is printed; the exit code is 1 where there is one.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qrdistill.answers.check import check
from qrdistill.base.records import Question

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
COMPLETIONS = (
    "The answer is {}.",
    "So the final answer is: {}",
    "**Answer:** {}",
    "Therefore, the correct answer is **{}**.",
    "All of this leads to\n\n\\boxed{{{}}}",
    "Final Answer: {}\nI hope it is correct.",
    "<answer>{}</answer>",
    "{}",
    "It is {}.",
)
WRITTEN = (
    "{m:02}/{d:02}/{y}",
    "{m}/{d}/{y}",
    "{y}-{m:02}-{d:02}",
    "{month} {d}, {y}",
    "{d} {month} {y}",
    "{month} {d}{th}, {y}",
    "the {d}{th} of {month} {y}",
)


def question(kind: str, text: str, gold: str) -> Question:
    return Question(id="q", split="test", task="real", family="real", kind=kind, question=text, gold=gold)


def gsm8k(file: Path) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Counts of agreeing, disagreeing and undecided verdicts, and the solutions that do not agree."""
    counts: Counter[str] = Counter()
    odd: list[dict[str, Any]] = []
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            asked = question("number", row["question"], row["ground_truth"].rpartition("A:")[2].strip())
            for model in MODELS:
                solution, right = row[model]["solution"], row[model]["is_correct"]
                checked = check(asked, solution)
                agrees = (checked.outcome == "correct") == right
                counts["agree" if agrees else "disagree"] += 1
                counts["undecided"] += checked.outcome == "undecided"
                if not agrees:
                    odd.append({"gold": asked.gold, "end": solution[-120:], "published": right, "ours": checked})
    return counts, odd


def dates(file: Path) -> tuple[Counter[str], list[dict[str, Any]]]:
    counts: Counter[str] = Counter()
    odd: list[dict[str, Any]] = []
    for example in json.loads(file.read_text(encoding="utf-8"))["examples"]:
        counts["questions"] += 1
        gold = next(target for target, score in example["target_scores"].items() if score)
        asked = question("date", example["input"], gold)
        for target in example["target_scores"]:
            for text in renderings(target):
                checked = check(asked, text)
                expected = "correct" if target == gold else "wrong"
                counts["agree" if checked.outcome == expected else "disagree"] += 1
                if checked.outcome != expected:
                    odd.append({"gold": gold, "text": text, "expected": expected, "ours": checked})
    return counts, odd


def renderings(target: str) -> Iterator[str]:
    """Every way to write a date in every way to close a completion; only the target's own where it is no day."""
    month, day, year = (int(part) for part in target.split("/"))
    try:
        name = datetime.date(2000, month, 1).strftime("%B")
        datetime.date(year, month, day)
    except ValueError:
        return
    th = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    for form in WRITTEN:
        written = form.format(m=month, d=day, y=f"{year:04}", month=name, th=th)
        for completion in COMPLETIONS:
            yield completion.format(written)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with gsm8k/ and bigbench/")
    data: Path = parser.parse_args().data
    failed = 0
    for name, run, file in (
        ("gsm8k", gsm8k, data / "gsm8k" / "example_model_solutions.jsonl"),
        ("dates", dates, data / "bigbench" / "date_understanding.json"),
    ):
        counts, odd = run(file)
        for case in odd[:40]:
            print(case)
        print(json.dumps({"check": name, **counts}))
        failed += counts["disagree"]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
