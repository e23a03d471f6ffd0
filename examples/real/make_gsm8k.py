"""Makes GSM8K's questions, and paths that four LLMs wrote for them, from a folder of the data set:

    gsm8k/questions.jsonl   id, split, question, gold
    gsm8k/paths.jsonl       question_id, style, teacher, text: each solution as prose, and its calculations alone

DIR holds `example_model_solutions.jsonl` of https://github.com/openai/grade-school-math (MIT): for each of the 1,319
test questions the solutions of GPT-3 6B and 175B, fine-tuned and verified. 38 % of them are right. As only test
questions have solutions, they are divided anew: a model that is trained here must not be compared with others on them.

Run: python examples/real/make_gsm8k.py --data DIR
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
FILE = "example_model_solutions.jsonl"
TEACHERS = {  # the file's names -> ours
    "6b_finetuning": "gpt3-6b",
    "6b_verification": "gpt3-6b-verified",
    "175b_finetuning": "gpt3-175b",
    "175b_verification": "gpt3-175b-verified",
}
DEV, TEST = 60, 200


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True, metavar="DIR")
    options.add_argument("--to", type=Path, default=HERE / "gsm8k")
    chosen = options.parse_args()
    found = next((place for place in (chosen.data / FILE, chosen.data / "gsm8k" / FILE) if place.exists()), None)
    if found is None:
        sys.exit(f"{chosen.data} holds no {FILE}; it is part of https://github.com/openai/grade-school-math")
    rows = [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines()]
    Random(0).shuffle(rows)
    questions: list[dict[str, str]] = []
    paths: list[dict[str, str]] = []
    for number, row in enumerate(rows):
        split = "dev" if number < DEV else "test" if number < DEV + TEST else "train"
        name = f"gsm8k-{number}"
        gold = row["ground_truth"].rpartition("A: ")[2].strip()
        questions.append({"id": name, "split": split, "question": row["question"], "gold": gold})
        if split == "train":
            for theirs, ours in TEACHERS.items():
                written = write_paths(row[theirs]["solution"])
                paths += [
                    {"question_id": name, "teacher": ours, "style": s, "text": text} for s, text in written.items()
                ]
    chosen.to.mkdir(parents=True, exist_ok=True)
    for name, lines in (("questions", questions), ("paths", paths)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (chosen.to / f"{name}.jsonl").write_text(text, encoding="utf-8")
    print(f"wrote {len(questions)} questions and {len(paths)} paths to {chosen.to}")


def write_paths(solution: str) -> dict[str, str]:
    """A solution in two styles; only the prose where it marks no calculation.

    >>> write_paths("He eats 2*3=<<2*3=6>>6 eggs.\\nA: 6")
    {'chain_of_thought': 'He eats 2*3=6 eggs.\\nThe answer is 6.', 'calculations': '2*3 = 6\\nThe answer is 6.'}
    """
    body, _, answer = solution.rpartition("A:")
    closing = f"The answer is {answer.strip()}."
    written = {"chain_of_thought": f"{re.sub('<<[^>]*>>', '', body).strip()}\n{closing}"}
    marked = re.findall("<<([^>=]+)=([^>]+)>>", body)
    if marked:
        written["calculations"] = "\n".join([*(f"{left} = {result}" for left, result in marked), closing])
    return written


if __name__ == "__main__":
    main()
