"""Held-out loss of a study with a scripted teacher: how well each student, before and after, predicts right solutions to the test questions.

For every test question the scripted teacher's sound solution is written in each style; nobody trained on these. Printed is
the mean loss in nats per character, and its fall against the untrained student with a bootstrap interval over the questions.

Run, from where the study was run (the config names the models by their paths):
    PYTHONPATH=examples/real python examples/real/held_out_loss.py STUDY --teacher scripted_sums
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from qrdistill.base.records import Question, ReasoningPath, path_id
from qrdistill.base.store import read_table
from qrdistill.paths.styles import Style, resolve_styles
from qrdistill.runs.load_config import load_config
from qrdistill.runs.run import Run
from qrdistill.scores.paired import difference
from qrdistill.students.config import StudentConfig
from qrdistill.students.loading import load_student
from qrdistill.training.data import Material

Losses = dict[str, dict[str, float]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("study", type=Path)
    options.add_argument("--teacher", default="scripted_legs", help="the module that wrote the paths")
    options.add_argument("--base-dir", type=Path, default=Path("examples/real"), help="where the config's models lie")
    chosen = options.parse_args()
    teacher = import_module(chosen.teacher)
    print(
        "| student | arm | "
        + " | ".join(teacher.WRONG)
        + " | fall against untrained, 95 % |\n| --- | --- |"
        + " --- |" * (len(teacher.WRONG) + 1)
    )
    arms = {folder.name.split(".")[1]: folder for folder in sorted(chosen.study.glob("task.*.s0"))}
    config = load_config(next(iter(arms.values())) / "config.yaml")
    styles = resolve_styles(config.paths.styles)
    questions = [q for q in read_table(next(iter(arms.values())) / "questions.parquet", Question) if q.split == "test"]
    for student in config.students:
        before = losses(student, teacher, chosen.base_dir, questions, styles)
        show(student.name, "untrained", before, None)
        for arm, folder in arms.items():
            if arm != "zero-shot" and (folder / "students" / student.name).is_dir():
                trained = student.model_copy(update={"model": str(Run(folder).student(student.name).resolve())})
                show(student.name, arm, losses(trained, teacher, chosen.base_dir, questions, styles), before)


def losses(
    student: StudentConfig,
    teacher: ModuleType,
    base_dir: Path,
    questions: Sequence[Question],
    styles: dict[str, Style],
) -> Losses:
    """style -> question id -> nats per character of the sound solution."""
    paths: list[ReasoningPath] = []
    for question in questions:
        for style in teacher.WRONG:
            paths.append(
                ReasoningPath(
                    id=path_id(0, question.id, "scripted", style, 0),
                    question_id=question.id,
                    teacher="scripted",
                    style=style,
                    prompt_hash="",
                    text=teacher.sound(question, style),
                    answer=question.gold,
                )
            )
    reader = load_student(student.model_copy(update={"lora": None}), base_dir=base_dir)
    material = Material({question.id: question for question in questions}, paths, [reader], styles)
    if len(material.paths) != len(paths):
        raise SystemExit(f"{student.name} cannot read {len(paths) - len(material.paths)} of the {len(paths)} solutions")
    found: Losses = {style: {} for style in teacher.WRONG}
    for path, loss in zip(paths, material.measure(max_tokens=2048, shared_prefix=False)[:, 0].tolist(), strict=True):
        found[path.style][path.question_id] = loss
    return found


def show(student: str, arm: str, found: Losses, before: Losses | None) -> None:
    means = [sum(of.values()) / len(of) for of in found.values()]
    fall = ""
    if before:
        overall = [
            {id: sum(of[id] for of in one.values()) / len(one) for id in next(iter(one.values()))}
            for one in (before, found)
        ]
        change = difference("before", "after", *overall)
        assert change is not None
        fall = f"{change.difference:.3f} ({change.low:.3f} to {change.high:.3f})"
    print(f"| {student} | {arm} | " + " | ".join(f"{mean:.3f}" for mean in means) + f" | {fall} |", flush=True)


if __name__ == "__main__":
    main()
