from __future__ import annotations

from qrdistill.base.progress import Silent
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.filter import WINDOW

PLAIN = FilterConfig(answer=False, contamination=None, deduplicate=False)


def test_over_pruning_is_said_aloud(make_question, make_path, run_filter) -> None:
    questions = [make_question(f"train-{n}") for n in range(40)]
    paths = [
        make_path(question_id=one.id, style=style, finish_reason="length" if style == "program" else "stop")
        for one in questions
        for style in ("vanilla", "program")
    ]
    progress = Silent()
    counts, _ = run_filter(questions, paths, PLAIN, progress=progress)
    assert counts.warnings == (
        "over-pruning: style 'program' keeps 0 of 40 paths; most are lost to the check 'truncated' (40)",
    )
    assert progress.warnings == list(counts.warnings)
    assert counts.emptied == 0


def test_questions_and_teachers_that_lose_everything(make_question, make_path, run_filter) -> None:
    questions = [make_question(f"train-{n}") for n in range(40)]
    paths = [
        make_path(question_id=one.id, teacher=teacher, finish_reason="length" if number < 20 else "stop")
        for number, one in enumerate(questions)
        for teacher in (("cut",) if number < 20 else ("whole",))
    ]
    counts, _ = run_filter(questions, paths, PLAIN)
    assert counts.emptied == 20
    assert any("20 of 40 questions lost all their paths (train-0, train-1, train-2, ...)" in w for w in counts.warnings)
    assert any("teacher 'cut' keeps 0 of 20" in w for w in counts.warnings)
    assert not any("'whole'" in w for w in counts.warnings)


def test_a_healthy_pool_raises_no_alarm(make_question, make_path, run_filter) -> None:
    questions = [make_question(f"train-{n}") for n in range(40)]
    counts, _ = run_filter(questions, [make_path(question_id=one.id) for one in questions], PLAIN)
    assert counts.warnings == ()


def test_many_undecided_paths_are_said_aloud(make_question, make_path, run_filter) -> None:
    questions = [make_question(f"train-{n}") for n in range(10)]
    paths = [make_path("Who knows.", question_id=one.id, sample=n) for one in questions for n in range(2)]
    counts, _ = run_filter(questions, paths, FilterConfig(deduplicate=False))
    assert counts.undecided == 20
    assert any(
        "20 of 20 paths are undecided, and do not train; most often (20): answer: " in w for w in counts.warnings
    )


def test_paths_are_read_and_verdicts_written_in_step(make_question, make_path, run_filter, monkeypatch) -> None:
    """Memory holds a window, however long the stream is: no more is read ahead of what is written."""
    from qrdistill.base.store import TableWriter

    written, ahead = 0, 0
    write_batch = TableWriter.write_batch

    def counting(self, batch):
        nonlocal written
        written += batch.column("check").to_pylist().count("filter")
        write_batch(self, batch)

    monkeypatch.setattr(TableWriter, "write_batch", counting)
    questions = [make_question(f"train-{n}") for n in range(3 * WINDOW)]

    def stream():
        nonlocal ahead
        for read, one in enumerate(questions):
            ahead = max(ahead, read - written)
            yield make_path(question_id=one.id)

    counts, _ = run_filter(questions, stream(), PLAIN)
    assert counts.generated == written == 3 * WINDOW
    assert ahead <= WINDOW + 1
