"""A small finished run directory, written by hand, with hostile text wherever a model or user may put it."""

import json
import random

import pytest

from qrdistill.base.records import FREE, Answer, Assignment, Question, ReasoningPath, Verdict, path_id
from qrdistill.base.store import write_json, write_table, write_text
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.score import score

HOSTILE = '</pre><script>alert("x")</script><img src="https://evil.example/p.png" onerror=alert(1)> & {{ 7*7 }}'
STYLES = ["vanilla", "program", "facts"]
STUDENTS = ["anna", "ben"]


@pytest.fixture(scope="session")
def build_run():
    """build_run(folder, seed=0): writes every file of a run, with all figures drawn from the seed."""

    def build(folder, seed=0, base=True, samples=4):
        draw = random.Random(seed)
        folder.mkdir(parents=True, exist_ok=True)
        questions = [
            Question(
                id=f"{split}-{n}",
                split=split,
                task="t",
                family=["sums", "trips"][n % 2],
                kind="number",
                question=f"What is {n} + 1? {HOSTILE if n == 0 else ''}",
                gold=str(n + 1),
            )
            for split, many in (("train", 12), ("dev", 20), ("test", 40))
            for n in range(many)
        ]
        write_table(folder / "questions.parquet", Question, questions)
        write_tables(folder, questions, draw)
        answers = list(answer(questions, draw, base, samples))
        write_table(folder / "answers.parquet", Answer, answers)
        figures = score(answers, {q.id: q for q in questions}, EvaluateConfig(samples=samples))
        write_json(folder / "scores.json", figures)
        metrics = [
            {
                "step": step,
                "loss": 2.0 / (step + 1),
                "balance": 0.1,
                "staleness": None,
                "tokens": {"anna": 10, "ben": 20},
                "nll": {"anna": 1.5 / (step + 1), "ben": 1.8},
            }
            for step in range(30)
        ]
        write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in metrics))
        stage = {"state": "done", "key": "k", "counts": {"paths": 36, "by": {"x": 1}}, "seconds": 1.5}
        stages = {
            "generate": {**stage, "warnings": [f"careful {HOSTILE}"]},
            "train": {**stage, "warnings": []},
        }
        write_json(folder / "manifest.json", {"stages": stages})
        students = "".join(f"- {{name: {name}, model: x}}\n" for name in STUDENTS)
        text = f"name: a-run\nseed: {seed}\nrouter: {{kind: learned}}\nstudents:\n{students}# {HOSTILE}\n"
        write_text(folder / "config.yaml", text)
        return folder

    return build


def write_tables(folder, questions, draw):
    paths, verdicts, assignments = [], [], []
    for question in (q for q in questions if q.split == "train"):
        for style in STYLES:
            path = ReasoningPath(
                id=path_id(0, question.id, "gemini", style, 0),
                question_id=question.id,
                teacher="gemini",
                style=style,
                prompt_hash="h",
                text=f"Facts: {HOSTILE}\nThe answer is 1.",
                answer="1",
                prompt_tokens=50,
                completion_tokens=80,
                cost=0.001,
            )
            paths.append(path)
            fate = draw.choice(["keep", "keep", "answer", "judge", "unclear"])
            verdicts.append(
                Verdict(
                    path_id=path.id,
                    check="answer",
                    outcome="drop" if fate == "answer" else "keep",
                    reason=HOSTILE,
                )
            )
            if fate != "answer":
                said = {"keep": "keep", "judge": "drop", "unclear": "undecided"}[fate]
                verdicts.append(Verdict(path_id=path.id, check="judge", outcome=said, judge="rules", quote=HOSTILE))
            final = {"keep": "keep", "unclear": "undecided"}.get(fate, "drop")
            verdicts.append(Verdict(path_id=path.id, check="filter", outcome=final))
    kept = [v.path_id for v in verdicts if v.check == "filter" and v.outcome == "keep"]
    for step in range(30):
        for path in kept[step % 3 :: 3]:
            program = "/program/" in path
            for student in STUDENTS:
                chosen = (student == "ben") == program
                assignments.append(
                    Assignment(step=step, path_id=path, student=student, probability=0.5, chosen=chosen, nll=0.5)
                )
    write_table(folder / "paths.parquet", ReasoningPath, paths)
    write_table(folder / "verdicts.parquet", Verdict, verdicts)
    write_table(folder / "assignments.parquet", Assignment, assignments)


def answer(questions, draw, base, samples):
    skill = {"anna": 0.8, "ben": 0.6, "anna@base": 0.5, "ben@base": 0.3}
    for student in [*STUDENTS, *([f"{name}@base" for name in STUDENTS] if base else [])]:
        for question in (q for q in questions if q.split != "train"):
            for style in [*STYLES, FREE]:
                sampled = style == "facts" and question.split == "test" and "@" not in student
                for sample in range(samples + 1 if sampled else 1):
                    right = draw.random() < skill[student] + 0.1 * (style == "facts")
                    said = question.gold if right else draw.choice(["99", None])
                    yield Answer(
                        student=student,
                        question_id=question.id,
                        split=question.split,
                        style=style,
                        sample=sample,
                        text=f"Facts: {HOSTILE} The answer is {said}.",
                        answer=said,
                        correct=None if said is None else right,
                        logprob=-draw.random() * 9,
                        tokens=12,
                    )
