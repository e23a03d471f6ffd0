from __future__ import annotations

import pytest

from qrdistill.base.errors import ConfigError, DataError
from qrdistill.base.progress import Silent
from qrdistill.paths.config import ReplayTeacher
from qrdistill.verdicts.config import FilterConfig

PLAIN = FilterConfig(answer=False)


def closing(verdicts):
    return {one.path_id: (one.outcome, one.reason) for one in verdicts if one.check == "filter"}


def test_a_sound_path_is_kept_and_every_check_is_on_record(make_question, make_path, run_filter) -> None:
    counts, verdicts = run_filter([make_question()], [make_path()], PLAIN)
    assert [(one.check, one.outcome) for one in verdicts] == [
        ("ended", "keep"),
        ("truncated", "keep"),
        ("duplicate", "keep"),
        ("contamination", "keep"),
        ("near_duplicate", "keep"),
        ("filter", "keep"),
    ]
    assert (counts.generated, counts.kept, counts.dropped, counts.undecided) == (1, 1, 0, 0)


def test_the_first_drop_decides_and_later_checks_are_not_asked(make_question, make_path, run_filter) -> None:
    cut = make_path(finish_reason="length")
    counts, verdicts = run_filter([make_question()], [cut], PLAIN)
    assert [(one.check, one.outcome) for one in verdicts] == [
        ("ended", "keep"),
        ("truncated", "drop"),
        ("filter", "drop"),
    ]
    assert closing(verdicts)[cut.id][1] == "truncated: cut by the token limit"
    assert counts.by_check["duplicate"].generated == 0


def test_duplicates_are_looked_for_within_a_question_only(make_question, make_path, run_filter) -> None:
    paths = [
        make_path("a b", sample=0),
        make_path("a  b\n", sample=1),
        make_path("a b", question_id="train-2"),
    ]
    _, verdicts = run_filter([make_question(), make_question("train-2")], paths, PLAIN)
    assert [closing(verdicts)[path.id][0] for path in paths] == ["keep", "drop", "keep"]
    assert paths[0].id in closing(verdicts)[paths[1].id][1]


def test_a_duplicate_of_a_cut_path_survives(make_question, make_path, run_filter) -> None:
    paths = [make_path("a b", finish_reason="length"), make_path("a b", sample=1)]
    _, verdicts = run_filter([make_question()], paths, PLAIN)
    assert [closing(verdicts)[path.id][0] for path in paths] == ["drop", "keep"]


def test_near_duplicates_are_looked_for_among_sound_paths(make_question, make_path, run_filter) -> None:
    long = "First we add three and four, which makes seven apples in the basket, and so we are done here."
    texts = [f"{long} Nobody ate one. The answer is {n}." for n in (8, 7)] + [
        f"{long} Nobody ate one. The answer is 7!"
    ]
    paths = [make_path(text, sample=i) for i, text in enumerate(texts)]
    config = FilterConfig(contamination=None, near_duplicate=0.8)
    _, verdicts = run_filter([make_question()], paths, config)
    assert [closing(verdicts)[path.id][0] for path in paths] == ["drop", "keep", "drop"]
    assert closing(verdicts)[paths[2].id][1] == f"near_duplicate: almost the text of {paths[1].id}"


def test_keep_limits_sound_paths_per_question_and_spreads_over_styles(make_question, make_path, run_filter) -> None:
    styles = ("vanilla", "program", "facts", "backward")
    questions = [make_question(f"train-{i}") for i in range(40)]
    paths = [make_path(f"path {s}", one.id, s) for one in questions for s in styles]
    counts, verdicts = run_filter(questions, paths, FilterConfig(answer=False, keep=2))
    kept = [id for id, (outcome, _) in closing(verdicts).items() if outcome == "keep"]
    assert len(kept) == counts.kept == 80
    assert all(sum(id.split("/")[1] == one.id for id in kept) == 2 for one in questions)
    assert all(10 <= counts.by_style[style].kept <= 30 for style in styles)  # 20 expected
    again, _ = run_filter(questions, paths, FilterConfig(answer=False, keep=2))
    other, _ = run_filter(questions, paths, FilterConfig(answer=False, keep=2), seed=1)
    assert again == counts
    assert other.by_style != counts.by_style


def test_unknown_question_and_scattered_groups_are_refused(make_question, make_path, run_filter) -> None:
    with pytest.raises(DataError, match="'train-9', which is not there"):
        run_filter([make_question()], [make_path(question_id="train-9")], PLAIN)
    both = [make_question(), make_question("train-2")]
    with pytest.raises(DataError, match="do not stand together"):
        run_filter(both, [make_path(), make_path(question_id="train-2"), make_path(sample=1)], PLAIN)


def test_bad_judges_are_refused_with_key_and_mend(make_question, make_path, run_filter) -> None:
    replay = ReplayTeacher(kind="replay", name="notes", file="x.jsonl")
    for judges, words in (
        (["nobody"], "unknown judge 'nobody'"),
        (["notes"], "replay teacher 'notes' cannot"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            run_filter([make_question()], [make_path()], FilterConfig(judges=judges), teachers=[replay])
        assert caught.value.key == "filter.judges.0"
    config = FilterConfig(judges=["lab"], undecided="escalate")
    with pytest.raises(ConfigError, match="name the judge") as caught:
        run_filter([make_question()], [make_path()], config)
    assert caught.value.key == "filter.escalate_to"


def test_nothing_in_nothing_out(run_filter) -> None:
    counts, verdicts = run_filter([], [], PLAIN, progress=Silent())
    assert verdicts == []
    assert counts.generated == counts.kept == 0


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"finish_reason": "safety"}, ("drop", "ended: withheld (safety)")),
        ({"finish_reason": "network_error"}, ("drop", "ended: broken off (network_error)")),
        ({"finish_reason": "odd"}, ("undecided", "ended: it ended for a reason that is not known (odd)")),
        (
            {"text": "", "thought": "3 + 4", "finish_reason": "length"},
            ("undecided", "ended: a thought without an answer"),
        ),
        ({"thinking": "only"}, ("drop", "ended: no thought, which is all that trains (thinking: only)")),
        ({"thinking": "only", "thought": "The answer is 8."}, ("keep", "")),
        ({"thinking": "keep", "text": "The answer is 8.", "thought": "The answer is 7."}, ("drop", None)),
    ],
)
def test_how_a_reply_ended_and_what_it_only_thought_do_not_pass_for_an_answer(
    make_question, make_path, run_filter, changes: dict[str, str], outcome: tuple[str, str | None]
) -> None:
    path = make_path("3 + 4 is 7. The answer is 7.").model_copy(update=changes)
    _, verdicts = run_filter([make_question()], [path], FilterConfig(contamination=None, truncated=False))
    found, reason = closing(verdicts)[path.id]
    assert found == outcome[0]
    assert outcome[1] in (None, reason)
