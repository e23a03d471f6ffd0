"""What one run's router did: who got which paths, when, and what a path's facts tell about it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qrdistill.base.records import Assignment, Question, ReasoningPath
from qrdistill.base.statistics import assignment_information
from qrdistill.base.store import read_table
from qrdistill.report.study_results import StudyRecord
from qrdistill.routing.config import COLLAPSE, NEAR_RANDOM
from qrdistill.scores.statistics import Information, informed, mutual_information

BINS = 6  # stretches of training that shares and information are shown for
BY_STYLE = 0.8  # of what style could tell: from here on the router routes by style
ALPHA = 0.05  # of the permutation test


@dataclass(frozen=True)
class Choice:
    """One path in one step, and the student it was routed to. `probability`: of every student."""

    step: int
    path_id: str
    student: str
    probability: Mapping[str, float]


def choices(rows: Iterable[Assignment]) -> list[Choice]:
    """The chosen student of every path and step; of several, the one with the highest probability.

    Rows of one path and step stand together.
    """
    found: list[Choice] = []
    together: list[Assignment] = []

    def close() -> None:
        chosen = [row for row in together if row.chosen]
        if chosen:
            first = max(chosen, key=lambda row: row.probability)
            probability = {row.student: row.probability for row in together}
            found.append(Choice(first.step, first.path_id, first.student, probability))
        together.clear()

    for row in rows:
        if together and (row.step, row.path_id) != (together[0].step, together[0].path_id):
            close()
        together.append(row)
    close()
    return found


def latest(found: Iterable[Choice]) -> dict[str, str]:
    """Path id -> the student that it was last routed to: one observation per path, however often it was drawn."""
    return {choice.path_id: choice.student for choice in found}


def edges(steps: int, bins: int = BINS) -> list[int]:
    """Where the stretches of training begin and end.

    >>> edges(120), edges(4)
    ([0, 20, 40, 60, 80, 100, 120], [0, 1, 2, 3, 4])
    """
    bins = max(1, min(bins, steps))
    return [round(steps * place / bins) for place in range(bins + 1)]


class InformationFigures(StudyRecord):
    """`Information` as study.json holds it: nats."""

    value: float
    chance: float
    p: float
    limit: float
    n: int
    excess: float


class RoutingFigures(StudyRecord):
    """One run's routing as study.json holds it; the fields are those of `RunRouting`."""

    verdict: str
    edges: list[int]
    share: dict[str, list[float | None]]
    information: dict[str, list[float]]
    late: dict[str, InformationFigures]
    cells: dict[str, dict[str, dict[str, list[float | None]]]]
    soft: float


@dataclass(frozen=True)
class RunRouting:
    """One run's routing.

    share: student -> its share of the paths per stretch. information: facet -> nats that it tells about
    the student per stretch. late: facet -> the same over each path's last assignment in the second half,
    with its permutation test. cells: facet -> student -> label -> share of the label's paths per stretch
    (None: none drawn). soft: nats that a path tells about its student by the router's own
    probabilities, over the last stretch, at most log S. last: path id -> student.
    """

    edges: list[int]
    share: dict[str, list[float]]
    information: dict[str, list[float]]
    late: dict[str, Information]
    cells: dict[str, dict[str, dict[str, list[float | None]]]]
    soft: float
    last: dict[str, str]

    @property
    def verdict(self) -> str:
        """Collapse, chance or a rule that the router follows, in a few words."""
        student, top = max(((name, shares[-1]) for name, shares in self.share.items()), key=lambda one: one[1])
        if len(self.share) > 1 and top > COLLAPSE:
            return f"collapse: {student} takes {100 * top:.0f} % of the last paths"
        if all(one.p > ALPHA for one in self.late.values()) and self.soft < NEAR_RANDOM * math.log(
            max(2, len(self.share))
        ):
            return "near-random: neither style nor family nor the router's own probabilities tell the student"
        style = self.late["style"]
        if style.limit > 0 and style.value >= BY_STYLE * style.limit:
            return f"routes by style ({100 * style.value / style.limit:.0f} % of what style could tell)"
        significant = [name for name, one in self.late.items() if one.p <= ALPHA]
        return (
            f"follows {' and '.join(significant)} in part"
            if significant
            else "decides path by path: neither style nor family tells the student"
        )

    def figures(self) -> RoutingFigures:
        late = {
            name: InformationFigures(**one._asdict(), excess=one.excess) for name, one in self.late.items() if one.n
        }
        share: dict[str, list[float | None]] = {
            name: [None if math.isnan(value) else value for value in values] for name, values in self.share.items()
        }
        return RoutingFigures(
            verdict=self.verdict,
            edges=self.edges,
            share=share,
            information=self.information,
            late=late,
            cells=self.cells,
            soft=self.soft,
        )


def read_routing(folder: Path, seed: int = 0) -> RunRouting:
    """Reads a finished run's routing. `seed`: of the permutations."""
    families = {row.id: row.family for row in read_table(folder / "questions.parquet", Question)}
    facts = {
        row.id: {"style": row.style, "family": families[row.question_id], "teacher": row.teacher}
        for row in read_table(folder / "paths.parquet", ReasoningPath)
    }
    rows = read_table(folder / "assignments.parquet", Assignment)
    return summarise_routing(choices(row for row in rows if row.path_id in facts), facts, seed=seed)


def summarise_routing(found: Sequence[Choice], facts: Mapping[str, Mapping[str, str]], *, seed: int = 0) -> RunRouting:
    """`facts`: path id -> its style, family and teacher. A teacher facet is kept where there are several."""
    ends = edges(max((choice.step for choice in found), default=0) + 1)
    students = sorted({name for choice in found for name in choice.probability})
    stretches = [
        [choice for choice in found if start <= choice.step < stop] for start, stop in itertools.pairwise(ends)
    ]
    facets = [
        name
        for name in ("style", "family", "teacher")
        if name != "teacher" or len({fact["teacher"] for fact in facts.values()}) > 1
    ]
    last = latest(found)
    late = latest(choice for choice in found if choice.step >= ends[len(ends) // 2])
    owners = list(late.values())
    return RunRouting(
        ends,
        {name: [_share(stretch, name) for stretch in stretches] for name in students},
        {
            facet: [
                mutual_information(
                    [facts[choice.path_id][facet] for choice in stretch],
                    [choice.student for choice in stretch],
                )
                for stretch in stretches
            ]
            for facet in facets
        },
        {facet: informed([facts[path][facet] for path in late], owners, seed=seed) for facet in facets},
        {facet: _cells(stretches, facts, facet, students) for facet in facets},
        soft_information([choice.probability for choice in stretches[-1]]),
        last,
    )


def soft_information(probabilities: Sequence[Mapping[str, float]]) -> float:
    """What knowing the path tells about its student by the router's own probabilities, in nats.

    >>> soft_information([{"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0}]) == math.log(2)
    True
    """
    if not probabilities:
        return 0.0
    names = sorted(probabilities[0])
    return float(assignment_information([[row.get(name, 0.0) for name in names] for row in probabilities]))


def _share(stretch: Sequence[Choice], student: str) -> float:
    return sum(choice.student == student for choice in stretch) / len(stretch) if stretch else math.nan


def _cells(
    stretches: Sequence[Sequence[Choice]],
    facts: Mapping[str, Mapping[str, str]],
    facet: str,
    students: Sequence[str],
) -> dict[str, dict[str, list[float | None]]]:
    labels = sorted({facts[choice.path_id][facet] for stretch in stretches for choice in stretch})
    cells: dict[str, dict[str, list[float | None]]] = {name: {label: [] for label in labels} for name in students}
    for stretch in stretches:
        for label in labels:
            owners = [choice.student for choice in stretch if facts[choice.path_id][facet] == label]
            for name in students:
                cells[name][label].append(owners.count(name) / len(owners) if owners else None)
    return cells
