"""`study samples`: how much does each share of the training questions buy?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from qrdistill.base.errors import ConfigError
from qrdistill.report.study_results import (
    Chart,
    Comparison,
    Condition,
    Line,
    Outcome,
    Part,
    StudyRecord,
    StudyResults,
    Table,
)
from qrdistill.report.study_words import points
from qrdistill.studies.grid.arms import by_name
from qrdistill.studies.grid.outcomes import compare
from qrdistill.studies.grid.page import finish, line_of_estimates, write_figures
from qrdistill.studies.grid.study import Setup, Variant, arm_titles, needs_all_arms, run_arms
from qrdistill.studies.grid.summary import summarise, tuned_arms

SHARES = (1.0, 0.6, 0.3, 0.1)  # of questions.train; the full data first, since the others are held to it
ARMS = ("zero-shot", "all", "learned", "best-own")
BASELINE = "all"
QUESTIONS = (
    ("all", "zero-shot", "Does training on everything help at all?"),
    ("learned", "all", "Does learned routing beat everything for everyone?"),
    ("best-own", "learned", "Does the recommended recipe beat learned routing?"),
    ("best-own", "all", "Does the recommended recipe beat everything for everyone?"),
)
CAVEAT = (
    "'No loss shown' is no proof of equality: the interval says how large a loss is still possible. "
    "Every share trains for the same number of steps, so a smaller one sees each path more often."
)

Verdict = Literal["above", "below", "no loss shown", "no interval"]


class AgainstFull(StudyRecord):
    """One arm at one share of the questions, minus the baseline on all of them."""

    share: float
    verdict: Verdict
    comparison: Comparison

    @property
    def arm(self) -> str:
        return self.comparison.first


class SamplesResults(StudyResults):
    shares: dict[str, float] = Field(default_factory=dict)
    """Condition -> share of the training questions."""
    num_questions: dict[str, int] = Field(default_factory=dict)
    """Condition -> their number."""
    against_full: list[AgainstFull] = Field(default_factory=list)
    smallest: dict[str, AgainstFull | None] = Field(default_factory=dict)
    """Arm -> the smallest share from which on nothing is below the baseline; None: there is none."""


def samples(setup: Setup) -> SamplesResults:
    """Accuracy over the share of the training questions. Writes study.json and report.html.

    The questions of a smaller share are part of a larger one's where the task keeps their order;
    dev and test questions are the same throughout. Raises ConfigError where the number of training
    questions is not written down.
    """
    needs_all_arms(setup)
    total = setup.config.questions.train
    if not total:
        raise ConfigError(
            "the shares of `study samples` are taken from a number; write down how many training questions "
            "there are in all",
            key="questions.train",
        )
    arms = [by_name(setup.config)[name] for name in ARMS]
    asked = "How many training questions does each arm need?"
    result = setup.results(SamplesResults, "samples", "Sample efficiency", asked).having(arms=arm_titles(arms))
    found: dict[float, dict[str, list[Outcome]]] = {}
    for share in SHARES:
        variant = _variant(share, total)
        # what is not trained does not depend on the training questions
        here = [arm for arm in arms if share == 1 or arm.name != "zero-shot"]
        chosen = tuned_arms(setup, variant, here)
        found[share] = run_arms(setup, variant, here, chosen)
        found[share].setdefault("zero-shot", found[1.0]["zero-shot"])
        condition = summarise(variant, found[share], chosen, QUESTIONS)
        result = result.having(
            conditions={**result.conditions, variant.name: condition},
            shares={**result.shares, variant.name: share},
            num_questions={**result.num_questions, variant.name: variant.changes["questions.train"]},
            against_full=against_full(found),
        )
        write_figures(setup, result)
    least = {arm.name: smallest(result.against_full, arm.name) for arm in arms}
    result = result.having(smallest=least)
    return finish(setup, result, [_part(result)], findings=findings(result), caveats=[CAVEAT], brief=True)


def _variant(share: float, total: int) -> Variant:
    number = max(1, round(share * total))
    return Variant(
        f"share{round(100 * share)}",
        f"{100 * share:.0f} % of the training questions ({number})",
        {"questions.train": number},
    )


def against_full(found: Mapping[float, Mapping[str, Sequence[Outcome]]]) -> list[AgainstFull]:
    """Every arm at every share, minus the baseline on all questions, paired by seed."""
    return [
        AgainstFull(share=share, verdict=verdict(difference), comparison=difference)
        for share, outcomes in sorted(found.items())
        for name, runs in outcomes.items()
        if (share, name) != (1.0, BASELINE) and (difference := compare(runs, found[1.0][BASELINE]))
    ]


def verdict(difference: Comparison) -> Verdict:
    """What an interval against the full-data baseline allows to be said."""
    if difference.over != "seeds":
        return "no interval"  # too few seeds, or seeds that coincide: nothing is known of others
    if difference.claim:
        return "above" if difference.claim > 0 else "below"
    return "no loss shown"


def smallest(rows: Sequence[AgainstFull], arm: str) -> AgainstFull | None:
    """The smallest share from which on no share of the arm is below the full-data baseline."""
    best: AgainstFull | None = None
    for row in sorted((row for row in rows if row.arm == arm), key=lambda row: -row.share):
        if row.verdict not in ("above", "no loss shown"):
            break
        best = row
    return best


def findings(result: SamplesResults) -> list[str]:
    titles = result.titles()
    reference = f"{titles[BASELINE]}, on all training questions"
    sentences: list[str] = []
    for name in ("all", "learned", "best-own"):
        rows = sorted((row for row in result.against_full if row.arm == name), key=lambda row: -row.share)
        row = result.smallest.get(name)
        if row is None:
            worst = rows[0]
            reason = (
                f"is below it at {100 * worst.share:.0f} % of the questions already, {points(worst.comparison)}"
                if worst.verdict == "below"
                else "too few seeds, or seeds that coincide, give no interval: nothing is claimed"
            )
            sentences.append(f"{titles[name]}, against {reference}: {reason}.")
            continue
        shown = "is above" if row.verdict == "above" else "shows no loss against"
        sentences.append(
            f"{titles[name]} {shown} {reference} from {100 * row.share:.0f} % of the questions on, "
            f"{points(row.comparison)}."
        )
    return sentences


def _part(result: SamplesResults) -> Part:
    titles = result.titles()
    return Part(
        title="Accuracy over the share of the questions",
        charts=[
            Chart(
                kind="curves",
                caption=f"Mean accuracy of the students, {label}, over the number of training questions; bars: 95 % intervals over seeds.",
                x="training questions",
                y="accuracy, %",
                lines=[line for name, title in titles.items() if (line := _line(title, name, mode, result))],
            )
            for mode, label in (("styled", "prompted style"), ("free", "free"))
        ],
        tables=[
            Table(
                title="Against the full-data baseline",
                columns=["arm", "share, %", "points", "low", "high", "seeds", "seeds ahead", "verdict"],
                rows=[
                    [
                        titles[row.arm],
                        round(100 * row.share),
                        *(
                            None if value is None else round(100 * value, 1)
                            for value in (row.comparison.difference, row.comparison.low, row.comparison.high)
                        ),
                        row.comparison.n,
                        row.comparison.positive,
                        row.verdict,
                    ]
                    for row in result.against_full
                ],
                note=f"Paired by seed; the baseline is {titles[BASELINE]} with all questions, in its prompted style.",
            )
        ],
    )


def _line(title: str, name: str, mode: str, result: SamplesResults) -> Line | None:
    ordered: list[tuple[str, Condition]] = sorted(result.conditions.items(), key=lambda one: result.shares[one[0]])
    found = [
        (float(result.num_questions[key]), value)
        for key, condition in ordered
        if name in condition.arms
        and (value := condition.arms[name].styled if mode == "styled" else condition.arms[name].free)
    ]
    if not found:
        return None
    return line_of_estimates(title, [x for x, _ in found], [value for _, value in found])
