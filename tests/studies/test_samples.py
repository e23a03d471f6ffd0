"""Sample efficiency: what is said of each share, on hand-made outcomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrdistill.base.errors import ConfigError
from qrdistill.base.progress import Silent
from qrdistill.report.study_results import ArmTitle, Comparison, Outcome
from qrdistill.runs.config import Config
from qrdistill.studies.grid.study import Setup
from qrdistill.studies.samples import AgainstFull, SamplesResults, against_full, findings, samples, smallest


def runs(arm: str, accuracies: tuple[float, ...]) -> list[Outcome]:
    return [Outcome(arm=arm, seed=seed, styled={"a": value}) for seed, value in enumerate(accuracies)]


FOUND = {
    1.0: {"all": runs("all", (0.70, 0.72, 0.71, 0.71)), "learned": runs("learned", (0.80, 0.81, 0.83, 0.82))},
    0.6: {"all": runs("all", (0.60, 0.63, 0.61, 0.62)), "learned": runs("learned", (0.71, 0.71, 0.72, 0.71))},
    0.3: {"all": runs("all", (0.70, 0.71, 0.73, 0.71)), "learned": runs("learned", (0.69, 0.73, 0.70, 0.72))},
    0.1: {"all": runs("all", (0.30, 0.31, 0.29, 0.30)), "learned": runs("learned", (0.40, 0.43, 0.44, 0.42))},
}


def test_every_share_is_held_to_the_full_baseline() -> None:
    rows = {(row.arm, row.share): row for row in against_full(FOUND)}
    assert ("all", 1.0) not in rows
    assert rows["learned", 1.0].verdict == "above"
    assert rows["learned", 0.3].comparison.difference == pytest.approx(0)
    assert [rows["learned", share].verdict for share in (0.6, 0.3, 0.1)] == [
        "no loss shown",
        "no loss shown",
        "below",
    ]
    assert rows["all", 0.6].verdict == "below"


def test_the_smallest_share_has_no_loss_above_it() -> None:
    rows = against_full(FOUND)
    learned = smallest(rows, "learned")
    assert learned is not None
    assert learned.share == 0.3
    assert smallest(rows, "all") is None  # its 30 % are not below by luck: 60 % are


def as_arm(name: str, row: AgainstFull) -> Comparison:
    return row.comparison.model_copy(update={"first": name})


def test_the_words_give_the_interval_and_claim_no_equality() -> None:
    rows = against_full(FOUND)
    rows.append(rows[0].model_copy(update={"verdict": "no interval", "comparison": as_arm("best-own", rows[0])}))
    arms = {name: ArmTitle(title=f"the {name} arm") for name in ("all", "learned", "best-own")}
    least = {name: smallest(rows, name) for name in ("all", "learned")}
    texts = findings(SamplesResults(study="samples", arms=arms, against_full=rows, smallest=least))
    assert "is below it at 60 % of the questions already, -9.5 points (95 % interval" in texts[0]
    assert texts[1].startswith(
        "the learned arm shows no loss against the all arm, on all training questions from 30 % of the questions on, +0.0 points"
    )
    assert "nothing is claimed" in texts[2]


def test_one_seed_or_seeds_that_coincide_give_no_verdict() -> None:
    one = {1.0: {"all": runs("all", (0.7,)), "learned": runs("learned", (0.9,))}}
    same = {1.0: {"all": runs("all", (0.7,) * 4), "learned": runs("learned", (0.9,) * 4)}}
    assert [row.verdict for found in (one, same) for row in against_full(found)] == ["no interval"] * 2


def test_shares_of_an_unknown_number_are_refused(tmp_path: Path) -> None:
    config = Config.model_validate({"questions": {"train": None}})
    with pytest.raises(ConfigError, match=r"questions\.train.*write down how many"):
        samples(Setup(config, tmp_path, Silent()))
