"""Kept + dropped + undecided = generated, for whatever comes in, however it is grouped."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from qrdistill.base.records import Question, ReasoningPath, Verdict, path_id
from qrdistill.base.store import TableWriter, read_table
from qrdistill.lab.config import LabJudge
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.counts import FilterCounts, Tally
from qrdistill.verdicts.filter import filter_paths
from qrdistill.verdicts.judges import judge as judges
from qrdistill.verdicts.judges.judge import Judgement

WORDS = [
    "3",
    "+",
    "4",
    "=",
    "7",
    "8",
    "So",
    "The answer is 7.",
    "The answer is 8.",
    "The answer is",
    "\\boxed{7}",
    "да",
]


class Moody:
    """A judge whose vote hangs on the text and the vote, with every outcome and failure there is."""

    MOODS = [
        Judgement("keep", confidence=0.9),
        Judgement("keep", confidence=0.2),
        Judgement("drop", "wrong"),
        Judgement("undecided"),
        Judgement("undecided", "no reply", failed=True),
    ]

    def __init__(self, config: LabJudge, *, seed: int) -> None:
        self._name = config.name

    def judge(self, question: Question, text: str, vote: int) -> Judgement:
        return self.MOODS[(len(text) + 2 * vote + len(self._name)) % len(self.MOODS)]


@st.composite
def pools(draw: Any) -> tuple[dict[str, Question], list[ReasoningPath]]:
    questions: dict[str, Question] = {}
    paths: list[ReasoningPath] = []
    for number in range(draw(st.integers(0, 6))):
        id = f"train-{number}"
        task = draw(st.sampled_from(["gsm8k", "lab"]))
        gold = draw(st.sampled_from(["7", "8", None]))
        questions[id] = Question(
            id=id,
            split="train",
            task=task,
            family="f",
            kind="number",
            question=f"3 + 4 is? ({id})",
            gold=gold,
        )
        for sample in range(draw(st.integers(0, 5))):
            teacher, style = draw(st.sampled_from(["a", "b"])), draw(st.sampled_from(["vanilla", "facts"]))
            paths.append(
                ReasoningPath(
                    id=path_id(0, id, teacher, style, sample),
                    question_id=id,
                    teacher=teacher,
                    style=style,
                    sample=sample,
                    prompt_hash="",
                    text=draw(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join) | st.text(max_size=20)),
                    answer=None,
                    finish_reason=draw(st.sampled_from(["stop", "length", "content_filter"])),
                )
            )
    return questions, paths


CONFIGS = st.builds(
    FilterConfig,
    answer=st.booleans(),
    judges=st.sampled_from(
        [
            [],
            [LabJudge(kind="lab", name="x")],
            [LabJudge(kind="lab", name="x"), LabJudge(kind="lab", name="yy")],
        ]
    ),
    votes=st.integers(1, 3),
    rule=st.sampled_from(["all", "majority", "any"]),
    threshold=st.sampled_from([0.0, 0.5]),
    undecided=st.sampled_from(["drop", "keep", "escalate"]),
    escalate_to=st.just(LabJudge(kind="lab", name="zzz")),
    keep=st.sampled_from([1, 2, "all"]),
    deduplicate=st.booleans(),
    truncated=st.booleans(),
    max_characters=st.sampled_from([None, 20]),
    language=st.booleans(),
    leak=st.booleans(),
    contaminated=st.just("drop"),
)


def run(
    questions: Mapping[str, Question], paths: list[ReasoningPath], config: FilterConfig
) -> tuple[FilterCounts, list[Verdict]]:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "verdicts.parquet"
        with TableWriter(target, Verdict) as out:
            counts = filter_paths(questions, iter(paths), config, out=out, seed=3)
        return counts, list(read_table(target, Verdict))


def balanced(tally: Tally | FilterCounts) -> bool:
    return tally.kept + tally.dropped + tally.undecided == tally.generated


def test_every_path_is_accounted_for(monkeypatch: Any) -> None:
    monkeypatch.setattr(judges, "registry", SimpleNamespace(find=lambda group, kind, *, key: Moody))

    @settings(max_examples=50, deadline=None)
    @given(pools(), CONFIGS)
    def holds(pool: tuple[dict[str, Question], list[ReasoningPath]], config: FilterConfig) -> None:
        questions, paths = pool
        counts, verdicts = run(questions, paths, config)
        closing = {one.path_id: one.outcome for one in verdicts if one.check == "filter"}

        # one decision each, in the order in which the paths came
        assert [one.path_id for one in verdicts if one.check == "filter"] == [path.id for path in paths]
        assert counts.generated == len(paths)
        assert balanced(counts)
        for grouped, key in (
            (counts.by_style, lambda path: path.style),
            (counts.by_teacher, lambda path: path.teacher),
            (counts.by_task, lambda path: questions[path.question_id].task),
        ):
            assert all(balanced(tally) for tally in grouped.values())
            outcomes = Counter((key(path), closing[path.id]) for path in paths)
            for name, tally in grouped.items():
                found = [outcomes[name, outcome] for outcome in ("keep", "drop", "undecided")]
                assert found == [tally.kept, tally.dropped, tally.undecided]
        # what one check passes on, less what has nothing to ask it, is what the next one gets
        assert all(balanced(tally) for tally in counts.by_check.values())
        arriving = counts.generated
        for tally in counts.by_check.values():
            assert tally.generated == arriving
            arriving = tally.kept
        assert arriving == counts.kept

        # a path trains only if nothing spoke against it, and nothing unclear was passed over in silence
        rows: dict[str, list[Verdict]] = {path.id: [] for path in paths}
        for one in verdicts:
            rows[one.path_id].append(one)
        for id, outcome in closing.items():
            others = [one for one in rows[id] if one.check not in ("filter", "judge")]
            if outcome == "keep":
                assert all(one.outcome == "keep" for one in others)
                votes = [one.outcome for one in rows[id] if one.check == "judge"]
                if votes and config.undecided != "keep":
                    assert "keep" in votes
            else:
                assert rows[id][-1].reason
        assert run(questions, paths, config) == (counts, verdicts)

    holds()
