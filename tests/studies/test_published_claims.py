"""docs/results.md, "Recomputable from docs/data": its figures follow from the answers in the shipped files."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrdistill.report.study_results import Comparison, Mode, StudyResults
from qrdistill.report.study_words import points
from qrdistill.scores.paired import difference_over_seeds
from qrdistill.studies import load_study
from qrdistill.studies.grid.outcomes import accuracy, compare

DOCS = Path(__file__).parents[2] / "docs"
HEADING = "## Recomputable from docs/data"
EVEN = "ablation-half-even.json.xz"  # the file that the claims below need

# File, condition, what the table says, first arm, second arm, decoding.
CLAIMS: tuple[tuple[str, str, str, str, str, Mode], ...] = (
    (EVEN, "even", "learned routing over random routing, prompted style", "learned", "random", "styled"),
    (EVEN, "even", "learned routing over random routing, free", "learned", "random", "free"),
    (EVEN, "even", "learned routing over everything for everyone, prompted style", "learned", "all", "styled"),
    (
        EVEN,
        "even",
        "learned routing over the fixed split by base loss, prompted style",
        "learned",
        "fixed-loss",
        "styled",
    ),
    (EVEN, "even", "learned routing over each student's best style, prompted style", "learned", "best-style", "styled"),
)


def section() -> str:
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    assert text.count(HEADING) == 1
    return text.partition(HEADING)[2].partition("\n## ")[0]


@pytest.fixture(scope="module")
def studies() -> dict[str, StudyResults]:
    needed = {claim[0] for claim in CLAIMS}
    assert {file.name for file in (DOCS / "data").glob("*.json.xz")} >= needed, "a file that claims rest on is missing"
    return {name: load_study(DOCS / "data" / name) for name in needed}


def recomputed(study: StudyResults, condition: str, first: str, second: str, mode: Mode) -> Comparison:
    arms = study.conditions[condition].arms
    found = compare(arms[first].runs, arms[second].runs, mode)
    assert found is not None
    return found


@pytest.mark.parametrize(("file", "condition", "claim", "first", "second", "mode"), CLAIMS)
def test_a_claim_follows_from_the_shipped_answers(
    studies: dict[str, StudyResults], file: str, condition: str, claim: str, first: str, second: str, mode: Mode
) -> None:
    study = studies[file]
    found = recomputed(study, condition, first, second, mode)
    assert f"| {claim} | {points(found)} |" in section()
    (stated,) = [
        row
        for row in study.conditions[condition].comparisons
        if (row.first, row.second, row.mode) == (first, second, mode)
    ]
    assert stated == found.model_copy(update={"question": stated.question})
    # once more from nothing but which questions each student got right, none of the stored figures
    arms = study.conditions[condition].arms
    answers = [
        (one.by_question(mode), other.by_question(mode))
        for one, other in zip(arms[first].runs, arms[second].runs, strict=True)
    ]
    pairs = [(sum(a.values()) / len(a), sum(b.values()) / len(b)) for a, b in answers]
    again = difference_over_seeds(pairs, answers)
    assert again is not None
    assert again.difference == pytest.approx(found.difference)
    assert again.by_seed == pytest.approx(found.by_seed)


def test_the_figures_of_every_run_follow_from_its_answers(studies: dict[str, StudyResults]) -> None:
    runs = [
        run
        for study in studies.values()
        for condition in study.conditions.values()
        for arm in condition.arms.values()
        for run in arm.runs
    ]
    assert len(runs) >= 12
    for run in runs:
        for mode, accuracies in (("styled", run.styled), ("free", run.free)):
            shares = {name: line.count("1") / len(line) for name, line in run.right[mode].items()}
            assert shares == pytest.approx(accuracies)
    for study in studies.values():
        for condition in study.conditions.values():
            for arm in condition.arms.values():
                assert accuracy(arm.runs) == arm.styled


def test_every_shipped_file_is_described_and_small() -> None:
    readme, results = (DOCS / "data/README.md").read_text(), section()
    files = sorted((DOCS / "data").glob("*.json.xz"))
    assert files
    for file in files:
        assert file.name in readme
        assert file.name in results
        assert file.stat().st_size < 1_000_000
