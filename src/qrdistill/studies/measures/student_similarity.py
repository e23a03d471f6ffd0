"""How alike a run's students are, at every checkpoint that remains: in what they hold and what they say.

Tensor suffixes: K spans of text, H hidden width.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qrdistill.base.draws import uniform
from qrdistill.base.records import FREE, Question, Record
from qrdistill.base.store import content_hash, write_json
from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.runs.run import Run
from qrdistill.studies.measures.representations import debiased_cka

if TYPE_CHECKING:
    from qrdistill.paths.styles import Style
    from qrdistill.students.student import Student

PROBES = 120  # texts whose hidden states are compared
ASKED = 50  # dev questions answered at each checkpoint
FILE = "diversity.json"


@dataclass(frozen=True)
class Probe:
    """A text that all students read: right dev answers of a reference run, the same for all its rivals."""

    question_id: str
    style: str
    text: str


class Point(Record):
    """The students after `step` steps; figures are means over the pairs of students.

    cka: similarity of their hidden states on `spans` spans of the probes. agreement: share of `questions`
    dev questions to which they give the same answer. accuracy: per student, on the same questions.
    """

    step: int
    cka: float | None
    spans: int
    agreement: float | None
    questions: int
    accuracy: dict[str, float]


class FinalAgreement(Record):
    """The exported students on the `n` scored questions; None: nothing to take a share of.

    agreement: share of the questions with the same answer. both_wrong: share that both get wrong.
    same_mistake: of those, the share with the same wrong answer. Means over pairs of students.
    """

    n: int
    agreement: float | None
    both_wrong: float | None
    same_mistake: float | None


def probes(reference: Path, limit: int = PROBES) -> list[Probe]:
    """Dev answers of a finished run that are right, a fixed sample; all of them where none is right."""
    rows = [row for row in Run(reference).answers() if row.split == "dev" and row.style != FREE and row.sample == 0]
    right = [row for row in rows if row.correct] or [row for row in rows if row.text.strip()]
    order = sorted(
        (uniform("probe", row.student, row.question_id, row.style), place) for place, row in enumerate(right)
    )
    chosen = sorted(place for _, place in order[:limit])
    return [Probe(right[place].question_id, right[place].style, right[place].text) for place in chosen]


def over_training(folder: Path, read: Sequence[Probe], prompted: Mapping[str, str]) -> list[Point]:
    """The run's base students and each checkpoint, oldest first; kept in the run's `diversity.json`.

    `prompted`: student -> the style that it answers the dev questions in.
    """
    from qrdistill.training.saved.checkpoint import list_checkpoints

    places = list_checkpoints(folder / "checkpoints")
    run = Run(folder)
    key = content_hash(
        [
            [asdict(probe) for probe in read],
            dict(prompted),
            PROBES,
            ASKED,
            run.config.model_dump(mode="json"),
            [(place.name, read_json(place / "state.json", nan=True)["fingerprint"]) for place in places],
        ]
    )
    file = folder / FILE
    if file.exists() and (kept := read_json(file, nan=True))["key"] == key:
        return [Point.model_validate(point) for point in kept["points"]]
    points = _measure(run, places, read, prompted)
    write_json(file, {"key": key, "points": [point.model_dump() for point in points]})
    return points


def _measure(run: Run, places: Sequence[Path], read: Sequence[Probe], prompted: Mapping[str, str]) -> list[Point]:
    from qrdistill.paths.styles import resolve_styles
    from qrdistill.students.loading import load_student
    from qrdistill.training.saved.checkpoint import restore_students

    config = run.config
    students = [
        load_student(student, base_dir=run.folder, device=config.train.device, autocast=config.train.autocast)
        for student in sorted(config.students, key=lambda student: student.name)
    ]
    styles = resolve_styles(config.paths.styles)
    questions = {row.id: row for row in run.questions()}
    dev = [row for row in questions.values() if row.split == "dev"][:ASKED]
    points: list[Point] = []
    for place in (None, *places):
        step = 0
        if place is not None:
            restore_students(place, students)
            step = int(place.name.removeprefix("step-"))
        for student in students:
            student.model.eval()
        cka, spans = similarity(
            students,
            read,
            questions,
            styles,
            span=config.mutual.span,
            max_tokens=config.train.max_tokens_per_batch,
        )
        said = answers(students, dev, styles, prompted, max_tokens=int(run.stages["evaluate"]["counts"]["max_tokens"]))
        points.append(
            Point(
                step=step,
                cka=_known(cka),
                spans=spans,
                agreement=_known(same_answers([one for one, _ in said.values()])),
                questions=len(dev),
                accuracy={name: sum(right) / len(right) for name, (_, right) in said.items() if right},
            )
        )
    return points


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def similarity(
    students: Sequence[Student],
    read: Sequence[Probe],
    questions: Mapping[str, Question],
    styles: Mapping[str, Style],
    *,
    span: str = "step",
    max_tokens: int = 4096,
) -> tuple[float, int]:
    """Linear CKA (unbiased) of hidden states pooled over the spans that all students' tokens cover; and their number."""
    import torch

    from qrdistill.paths.styles import student_prompt
    from qrdistill.students.tokens import Encoded, Unencodable
    from qrdistill.training.spans import SharedPath, pool_hidden, share_path

    encoded: list[list[Encoded]] = [[] for _ in students]
    shared: list[SharedPath] = []
    for probe in read:
        prompt = student_prompt(questions[probe.question_id].question, styles.get(probe.style))
        try:
            tokens = [student.encode(prompt, probe.text) for student in students]
        except Unencodable:
            continue
        spans = share_path(probe.text, [one.spans for one in tokens], span)
        if spans.num_spans:
            shared.append(spans)
            for own, one in zip(encoded, tokens, strict=True):
                own.append(one)
    if not shared:
        return math.nan, 0
    counts = [one.num_spans for one in shared]
    states: list[NDArray[np.float64]] = []
    for place, student in enumerate(students):
        with torch.no_grad():
            hidden = student.forward(encoded[place], hidden=True, max_tokens=max_tokens).hidden
        assert hidden is not None
        pooled_KH = pool_hidden(hidden, [one.poolings[place] for one in shared], counts)
        states.append(pooled_KH.double().cpu().numpy())
    found = [debiased_cka(one, other) for one, other in itertools.combinations(states, 2)]
    return sum(found) / len(found), sum(counts)


def answers(
    students: Sequence[Student],
    questions: Sequence[Question],
    styles: Mapping[str, Style],
    prompted: Mapping[str, str],
    *,
    max_tokens: int,
) -> dict[str, tuple[list[str | None], list[bool]]]:
    """Student -> its canonical greedy answers (None: unreadable), and whether each is right."""
    from qrdistill.answers.check import canonical, check
    from qrdistill.paths.styles import student_prompt
    from qrdistill.students.decode.decode import decode

    found: dict[str, tuple[list[str | None], list[bool]]] = {}
    for student in students:
        style = styles.get(prompted.get(student.name, FREE))
        prompts = [student_prompt(question.question, style) for question in questions]
        checked = [
            check(question, completions[0].text, cut=completions[0].finish_reason == "length")
            for question, completions in zip(questions, decode(student, prompts, max_tokens=max_tokens), strict=True)
        ]
        found[student.name] = (
            [canonical(question, one.answer) for question, one in zip(questions, checked, strict=True)],
            [one.outcome == "correct" for one in checked],
        )
    return found


def same_answers(said: Sequence[Sequence[str | None]]) -> float:
    """Share of questions to which two students say the same, mean over pairs; what cannot be read agrees with nothing.

    >>> same_answers([["1", "2", None], ["1", "3", None]])
    0.3333333333333333
    """
    found = [
        sum(a is not None and a == b for a, b in zip(one, other, strict=True)) / len(one)
        for one, other in itertools.combinations(said, 2)
        if one
    ]
    return sum(found) / len(found) if found else math.nan


def final_agreement(folder: Path) -> FinalAgreement:
    """The exported students on the scored split, each in the style that dev chose: see `same_answers`."""
    from qrdistill.answers.check import canonical

    run = Run(folder)
    scores = run.scores
    best: dict[str, str] = scores["best_style"]
    questions = {row.id: row for row in run.questions() if row.split == scores["split"]}
    said: dict[str, dict[str, tuple[str | None, bool]]] = {}
    for row in run.answers():
        if row.question_id in questions and row.sample == 0 and row.style == best.get(row.student):
            answer = canonical(questions[row.question_id], row.answer)
            said.setdefault(row.student, {})[row.question_id] = answer, row.correct is True
    columns = [[given.get(id, (None, False)) for id in questions] for _, given in sorted(said.items())]
    both, same = 0, 0
    for one, other in itertools.combinations(columns, 2):
        for (a, right), (b, also) in zip(one, other, strict=True):
            both += not right and not also
            same += not right and not also and a is not None and a == b
    compared = len(questions) * max(1, math.comb(len(columns), 2))
    return FinalAgreement(
        n=len(questions),
        agreement=_known(same_answers([[answer for answer, _ in column] for column in columns])),
        both_wrong=both / compared if compared else None,
        same_mistake=same / both if both else None,
    )
