from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.judges.judge import Item, Judgement, OneByOne, Seat
from qrdistill.verdicts.judges.panel import Panel
from qrdistill.verdicts.open_case import Case

SOUND, SPURIOUS, UNCLEAR = (
    Judgement("keep"),
    Judgement("drop", "3 + 4 is not 8"),
    Judgement("undecided", "hm"),
)


@dataclass
class Scripted:
    """A judge whose votes are written down beforehand; notes what it was asked."""

    votes: Sequence[Judgement]
    asked: list[Item] = field(default_factory=list)

    def judge(self, question, text, vote):
        self.asked.append(Item(question, text, vote))
        return self.votes[vote]


@pytest.fixture
def ask(make_question, make_path):
    def ask(*judges: Scripted, escalation: Scripted | None = None, **config):
        seats = [Seat(f"judge{i}", OneByOne(judge)) for i, judge in enumerate(judges)]
        votes = len(judges[0].votes)
        panel = Panel(
            seats,
            Seat("boss", OneByOne(escalation)) if escalation else None,
            FilterConfig(votes=votes, **config),
        )
        [finding] = panel.run([Case(make_question(), make_path())])
        return finding, panel

    return ask


def test_each_vote_is_on_record(ask) -> None:
    finding, panel = ask(Scripted([SPURIOUS, SOUND, SPURIOUS]))
    assert finding.outcome == "drop"
    assert [(one.judge, one.vote, one.outcome) for one in finding.details] == [
        ("judge0", 0, "drop"),
        ("judge0", 1, "keep"),
        ("judge0", 2, "drop"),
    ]
    assert finding.reason == "1 sound, 2 spurious: 3 + 4 is not 8"
    assert panel.agreement() == {"judge0": 0.0}


@pytest.mark.parametrize(("rule", "expected"), [("any", {}), ("all", {}), ("majority", {"judge0": 0.0})])
def test_agreement_is_measured_where_every_path_gets_a_second_vote(ask, rule, expected) -> None:
    """`any` asks again only after a first "spurious": of those few, most are errors that differ."""
    _, panel = ask(Scripted([SPURIOUS, SOUND, SPURIOUS]), rule=rule)
    assert panel.agreement() == expected


def test_votes_that_cannot_matter_are_not_asked(ask) -> None:
    judge = Scripted([SOUND, SOUND, SPURIOUS])
    finding, _ = ask(judge)
    assert finding.outcome == "keep"
    assert [item.vote for item in judge.asked] == [0, 1]


def test_a_judge_sees_neither_gold_nor_metadata(ask) -> None:
    judge = Scripted([SOUND])
    ask(judge)
    assert judge.asked[0].question.gold is None
    assert judge.asked[0].question.metadata == {}


def test_undecided_does_not_train_by_default_and_is_kept_only_on_request(ask) -> None:
    assert ask(Scripted([UNCLEAR]))[0].outcome == "undecided"
    kept, _ = ask(Scripted([UNCLEAR]), undecided="keep")
    assert kept.outcome == "keep"
    assert "kept by filter.undecided" in kept.reason
    assert kept.details[0].outcome == "undecided"


def test_escalation_decides_only_what_is_undecided(ask) -> None:
    boss = Scripted([SOUND])
    settings = {"undecided": "escalate", "escalate_to": "lab"}
    finding, _ = ask(Scripted([UNCLEAR]), escalation=boss, **settings)
    assert finding.outcome == "keep"
    assert finding.details[-1].judge == "boss"
    ask(Scripted([SPURIOUS]), escalation=boss, **settings)
    assert len(boss.asked) == 1
    assert ask(Scripted([UNCLEAR]), escalation=Scripted([UNCLEAR]), **settings)[0].outcome == "undecided"


@pytest.mark.parametrize("undecided", ["drop", "keep"])
def test_a_broken_judge_is_never_a_verdict(ask, undecided) -> None:
    broken = Judgement("undecided", "connection refused", failed=True)
    finding, panel = ask(Scripted([broken]), undecided=undecided)
    assert finding.outcome == "undecided"
    assert "connection refused" in finding.reason
    assert panel.errors == 1


def test_a_vote_below_the_threshold_is_undecided(ask) -> None:
    sure, unsure = Judgement("keep", confidence=0.9), Judgement("keep", confidence=0.5)
    assert ask(Scripted([sure]), threshold=0.8)[0].outcome == "keep"
    finding, _ = ask(Scripted([unsure]), threshold=0.8)
    assert finding.outcome == "undecided"
    assert "0.5, below filter.threshold" in finding.reason
    assert ask(Scripted([SOUND]), threshold=0.8)[0].outcome == "keep"  # a judge that states none


def test_two_judges_vote_together(ask) -> None:
    finding, _ = ask(Scripted([SOUND]), Scripted([SPURIOUS]))
    assert finding.outcome == "undecided"
    assert ask(Scripted([SOUND]), Scripted([SPURIOUS]), rule="all")[0].outcome == "drop"
    assert ask(Scripted([SOUND]), Scripted([SPURIOUS]), rule="any")[0].outcome == "keep"
