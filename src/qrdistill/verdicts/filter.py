"""The filter: which paths are sound enough to train on (arXiv 2508.16861, quality filter).

Checks run in this order, those that the config switches on:

    ended, truncated, duplicate, over_long, language, leak, contamination    what the text alone shows
    answer, program                                                   what it states, what its code prints
    judge                                                             what a reader says of its steps
    near_duplicate, surplus                                           which of the sound ones train

The first finding that is not `keep` closes a path: later, dearer checks are not bought for it. An
undecided path does not train. Every path ends in exactly one of the three heaps:

    kept + dropped + undecided = generated      per style, teacher, task and check
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from qrdistill.base.errors import DataError
from qrdistill.base.progress import Progress, Silent
from qrdistill.base.records import Question, ReasoningPath
from qrdistill.llm.config import OpenAITeacher
from qrdistill.paths.config import TeacherConfig
from qrdistill.verdicts.alarms import Account
from qrdistill.verdicts.checks.contamination import refuse_contaminated
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.counts import FilterCounts
from qrdistill.verdicts.judges.judge import appoint
from qrdistill.verdicts.judges.panel import Panel, seat_panel
from qrdistill.verdicts.open_case import Case, Check
from qrdistill.verdicts.windows import Checks, look_at

if TYPE_CHECKING:
    from qrdistill.base.store import TableWriter
    from qrdistill.compute.workers import Workers
    from qrdistill.llm.reply_cache import ReplyCache

WINDOW = 1024  # paths looked at together: bounds memory, and is what a judge can be asked at once


def filter_paths(
    questions: Mapping[str, Question],
    paths: Iterable[ReasoningPath],
    config: FilterConfig,
    *,
    teachers: Sequence[TeacherConfig] = (),
    unsettled: Mapping[str, str] | None = None,
    out: TableWriter,
    cache: ReplyCache | None = None,
    base_dir: Path = Path(),
    seed: int = 0,
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> FilterCounts:
    """Writes every check's verdict and one closing verdict (`check="filter"`) per path to `out`.

    `paths` come grouped by question, in canonical order, and are read once, in constant memory; so
    are the verdicts written. `cache` holds the judges' replies. unsettled: questions without an answer to compare
    with, and why: `filter.answer` leaves their paths undecided. workers: who runs the checks; judges are asked from
    here all the same, by the one process that writes the cache.

    Raises ConfigError for a judge that cannot be had, DataError for a path whose question is not
    there or whose question's paths do not stand together, InputError for train questions that are
    also asked in dev or test.
    """
    progress = progress or Silent()
    found = refuse_contaminated(questions.values(), config, workers, out.path)
    progress.start("filter")
    panel = seat_panel(config, teachers, cache=cache, base_dir=base_dir, seed=seed, progress=progress)
    evaluation = [question for question in questions.values() if question.split != "train"]
    checks = Checks(config, evaluation, found, unsettled or {}, seed)
    judging = [*([Check("judge", panel.run)] if panel else []), *checks.after]
    account = Account(check.name for check in [*checks.before, *judging])
    windows = _windows(questions, paths, _window(config, teachers))
    for window in look_at(windows, checks, judging, judged=panel is not None, out=out, workers=workers):
        for check, outcome in window.booked:
            account.checked(check, outcome)
        for case in window.cases:
            account.closed(case, case.closing.outcome)
        progress.advance(
            len(window.cases), kept=account.total.kept, of=account.total.generated, **_price(account, panel)
        )
    counts = account.counts(panel)
    for warning in counts.warnings:
        progress.warn(warning)
    progress.done(kept=counts.kept, dropped=counts.dropped, undecided=counts.undecided, **_price(account, panel))
    return counts


def _price(account: Account, panel: Panel | None) -> dict[str, str]:
    """What a kept path has cost so far, teachers and judges together; nothing where nothing was paid."""
    usd = account.usd + (panel.usd if panel else 0.0)
    return {"usd/kept": f"{usd / account.total.kept:.5f}"} if usd and account.total.kept else {}


def _window(config: FilterConfig, teachers: Sequence[TeacherConfig]) -> int:
    """As many as a judge's batch holds, where one is asked in batches: each may take a day."""
    judges = [judge for judge, _ in appoint(config, teachers)]
    batches = [judge.batch_requests for judge in judges if isinstance(judge, OpenAITeacher) and judge.batch]
    return max([WINDOW, *batches])


def _windows(questions: Mapping[str, Question], paths: Iterable[ReasoningPath], size: int) -> Iterator[list[Case]]:
    window: list[Case] = []
    seen: set[str] = set()
    for question_id, paths_of_one in groupby(paths, key=lambda path: path.question_id):
        group = list(paths_of_one)
        question = questions.get(question_id)
        if question is None:
            raise DataError(f"path {group[0].id!r} belongs to question {question_id!r}, which is not there")
        if question_id in seen:
            raise DataError(
                f"the paths of question {question_id!r} do not stand together (a second group starts at "
                f"{group[0].id!r}); sort them by question"
            )
        seen.add(question_id)
        window += (Case(question, path) for path in group)
        if len(window) >= size:
            yield window
            window = []
    if window:
        yield window
