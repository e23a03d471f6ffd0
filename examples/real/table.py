"""The table of a study of real models, also of one that is not finished: accuracy per arm and student with Wilson
intervals, and paired differences over the questions with bootstrap intervals.

Run: python examples/real/table.py STUDY [--against zero-shot]
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from pathlib import Path

from qrdistill.base.records import Question
from qrdistill.base.store import read_table
from qrdistill.runs.run import Run
from qrdistill.scores.compare import outcomes_by_question
from qrdistill.scores.paired import difference
from qrdistill.scores.statistics import wilson

MEAN = "mean of students"
Table = dict[str, dict[str, float]]  # student -> question (with its seed) -> share of right answers


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("study", type=Path)
    options.add_argument("--against", default="zero-shot", help="the arm that all others are held against")
    options.add_argument(
        "--same-up-to",
        metavar="TEXT",
        help="differences are over groups of questions that are the same up to this text",
    )
    chosen = options.parse_args()
    arms, unfinished = read(chosen.study)
    print("| arm | student | right | of | accuracy, 95 % |\n| --- | --- | --- | --- | --- |")
    for arm, table in arms.items():
        for student, own in table.items():
            right = sum(own.values())
            found = wilson(round(right), len(own))
            interval = "" if student == MEAN else f", {found.low:.1%} to {found.high:.1%}"
            print(f"| {arm} | {student} | {right:g} | {len(own)} | {right / len(own):.1%}{interval} |")
    drawn = "questions"
    if chosen.same_up_to:
        drawn = f"groups of questions up to {chosen.same_up_to!r}"
        arms = grouped(arms, chosen.study, chosen.same_up_to)
    print(f"\n| arm | against | student | difference, 95 % over {drawn} |\n| --- | --- | --- | --- |")
    pairs = [(arm, chosen.against) for arm in arms if arm != chosen.against]
    pairs += [("best-style", "all"), ("learned", "all"), ("learned", "best-style"), ("best-own", "best-style")]
    for first, second in dict.fromkeys(pair for pair in pairs if set(pair) <= set(arms)):
        for student in arms[first]:
            row = difference(first, second, arms[first][student], arms[second][student])
            if row:
                span = f"{100 * row.low:+.1f} to {100 * row.high:+.1f}"
                print(f"| {first} | {second} | {student} | {100 * row.difference:+.1f} points, {span} |")
    if unfinished:
        print(f"\nNot finished: {', '.join(unfinished)}")


def read(study: Path) -> tuple[dict[str, Table], list[str]]:
    """Arm -> its outcomes over all its finished seeds; and the runs that have no scores yet."""
    arms: dict[str, Table] = {}
    unfinished: list[str] = []
    for folder in sorted((path.parent for path in study.glob("*/config.yaml")), key=lambda path: path.stat().st_ctime):
        name, seed = re.fullmatch(r"[^.]+\.(.+)\.s(\d+)", folder.name).groups()
        if "score" not in Run(folder).stages:
            unfinished.append(folder.name)
            continue
        table = arms.setdefault(name, defaultdict(dict))
        outcomes = {student: own for (student, mode), own in outcomes_by_question(folder).items() if mode == "styled"}
        for question in next(iter(outcomes.values())):
            values = {student: float(own[question]) for student, own in outcomes.items()}
            for student, value in {**values, MEAN: sum(values.values()) / len(values)}.items():
                table[student][f"{seed} {question}"] = value
    return arms, unfinished


def grouped(arms: dict[str, Table], study: Path, same_up_to: str) -> dict[str, Table]:
    """The same for groups of questions in place of questions: the share of a group's that is right."""
    file = next(study.glob("*/questions.parquet"))
    groups = {row.id: row.question.partition(same_up_to)[0] for row in read_table(file, Question)}
    found: dict[str, Table] = {}
    for arm, table in arms.items():
        found[arm] = {}
        for student, own in table.items():
            members: dict[str, list[float]] = defaultdict(list)
            for key, value in own.items():
                seed, _, question = key.partition(" ")
                members[f"{seed} {groups[question]}"].append(value)
            found[arm][student] = {group: sum(values) / len(values) for group, values in members.items()}
    return found


if __name__ == "__main__":
    main()
