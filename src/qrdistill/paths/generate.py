"""The stage's verb: every train question, teacher, style and sample ends as one path or one failure.

Chat teachers are asked first, in any order, until the reply cache holds what they wrote (or the
reason why they did not); then all rows are written in canonical order: question, teacher, style,
sample. The tables are therefore a pure function of questions, config and cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qrdistill.base.errors import ConfigError
from qrdistill.base.progress import Progress, Silent
from qrdistill.base.records import Failure, Question, ReasoningPath, Truth, path_id
from qrdistill.base.store import TableWriter
from qrdistill.base.thoughts import Thinking
from qrdistill.llm.ask import Job, fill
from qrdistill.llm.config import OpenAITeacher
from qrdistill.llm.finish_reasons import ending
from qrdistill.llm.live_counts import Budget
from qrdistill.llm.reply_cache import Failed, ReplyCache
from qrdistill.paths.config import PathsConfig, TeacherConfig
from qrdistill.paths.styles import Style, resolve_styles
from qrdistill.paths.teachers import Draft
from qrdistill.paths.wanted_paths import ChatRequests, Slot, slot_source

_GROUP = 32  # questions whose replies are looked up at once


@dataclass(frozen=True)
class GenerateWriters:
    paths: TableWriter
    failures: TableWriter
    truth: TableWriter


@dataclass
class Spending:
    """What generation came to; `teachers` has the same figures per teacher."""

    paths: int = 0
    failures: int = 0
    truncated: int = 0
    withheld: int = 0  # by a content filter, or refused
    unknown_ends: int = 0  # ended with a reason that is not in our table
    unanswered: int = 0  # paths that hold a thought at most
    cached: int = 0  # replies that were in the cache already
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0  # what all these paths cost, whenever they were bought
    bought_usd: float = 0.0  # of it, spent in this call
    teachers: dict[str, Spending] = field(default_factory=dict)

    def book(self, item: ReasoningPath | Failure) -> None:
        if isinstance(item, Failure):
            self.failures += 1
            return
        self.paths += 1
        meaning = ending(item.finish_reason)
        self.truncated += meaning == "cut"
        self.withheld += meaning == "refused"
        self.unknown_ends += meaning == "unknown"
        self.unanswered += meaning != "refused" and not item.text.strip()
        self.prompt_tokens += item.prompt_tokens
        self.completion_tokens += item.completion_tokens
        self.usd += item.cost


def generate(
    questions: Sequence[Question],
    teachers: Sequence[TeacherConfig],
    config: PathsConfig,
    *,
    out: GenerateWriters,
    cache: ReplyCache,
    base_dir: Path,
    seed: int,
    round: int = 0,
    progress: Progress | None = None,
) -> Spending:
    """Writes one Path, or one Failure, per train question x teacher x style x sample.

    A later `round` asks for further samples than the rounds before it; `config`'s budget is what is left for it.

    Raises
        ConfigError  an unknown style, two teachers of one name, a missing key
        DataError    a replay file that cannot be used
        TeacherError, BudgetError, Interrupted  see `fill`: run the same call again to go on
    """
    from qrdistill.answers.check import extract

    progress = progress or Silent()
    asked = [question for question in questions if question.split == "train"]
    styles = resolve_styles(config.styles)
    check_teachers(teachers, styles)
    sources = {
        teacher.name: slot_source(teacher, asked, styles, config, cache, base_dir, seed, progress, round)
        for teacher in teachers
    }
    thinking: dict[str, Thinking] = {teacher.name: teacher.thinking for teacher in teachers}
    chats = {name: source for name, source in sources.items() if isinstance(source, ChatRequests)}
    spending = Spending(teachers={teacher.name: Spending() for teacher in teachers})
    if chats:
        _ask(chats, config, cache, spending, base_dir=base_dir, progress=progress)

    progress.start("generate", len(asked))
    for start in range(0, len(asked), _GROUP):
        group = asked[start : start + _GROUP]
        slots = {name: source.slots(group) for name, source in sources.items()}
        for question in group:
            for name in sources:
                for slot in slots[name][question.id]:
                    path = _row(slot, round, thinking[name], lambda one, text, cut: extract(one, text, cut=cut).answer)
                    _write(path, slot, out)
                    spending.book(path)
                    spending.teachers.setdefault(path.teacher, Spending()).book(path)
        progress.advance(len(group), paths=spending.paths)
    progress.done(paths=spending.paths, failures=spending.failures, usd=f"{spending.usd:.4f}")
    return spending


def check_teachers(teachers: Sequence[TeacherConfig], styles: Mapping[str, Style]) -> None:
    """Names are unique, and each teacher's own list of styles is among the run's."""
    names: set[str] = set()
    for index, teacher in enumerate(teachers):
        if teacher.name in names:
            raise ConfigError(f"two teachers are named {teacher.name!r}", key=f"teachers.{index}.name")
        names.add(teacher.name)
        for style in teacher.styles or ():
            if style not in styles:
                raise ConfigError(
                    f"unknown style {style!r}; paths.styles has {', '.join(styles)}",
                    key=f"teachers.{index}.styles",
                )


def _ask(
    chats: Mapping[str, ChatRequests],
    config: PathsConfig,
    cache: ReplyCache,
    spending: Spending,
    *,
    base_dir: Path,
    progress: Progress,
) -> None:
    """Fills the cache and books what was bought and what was there."""
    priced = [chat for chat in chats.values() if isinstance(chat.config, OpenAITeacher) and chat.config.price.known]
    if config.budget_usd is not None and not priced:
        progress.warn("budget_usd stops nothing, because no teacher has a price; set teachers.N.price")
    progress.start("ask", sum(len(chat) for chat in chats.values()))
    counts = fill(
        [Job(chat.config, chat, len(chat)) for chat in chats.values()],
        cache,
        base_dir=base_dir,
        budget=Budget(config.budget_usd, config.budget_tokens),
        progress=progress,
    )
    cache.warn(progress)
    for name, count in counts.items():
        for account in (spending, spending.teachers[name]):
            account.cached += count.cached
            account.bought_usd += count.usd
    progress.done(
        bought=sum(count.bought for count in counts.values()),
        cached=sum(count.cached for count in counts.values()),
        failed=sum(count.failed for count in counts.values()),
        usd=f"{sum(count.usd for count in counts.values()):.4f}",
    )


def _row(
    slot: Slot, round: int, thinking: Thinking, answer: Callable[[Question, str, bool], str | None]
) -> ReasoningPath | Failure:
    question_id, style, outcome = slot.question.id, slot.style.name, slot.outcome
    if isinstance(outcome, Failed):
        return Failure(
            round=round,
            question_id=question_id,
            teacher=slot.teacher,
            style=style,
            sample=slot.sample,
            reason=outcome.reason,
            status=outcome.status,
            attempts=outcome.attempts,
        )
    return ReasoningPath(
        id=path_id(round, question_id, slot.teacher, style, slot.sample),
        round=round,
        question_id=question_id,
        teacher=slot.teacher,
        style=style,
        sample=slot.sample,
        prompt_hash=slot.prompt_hash,
        text=outcome.text,
        answer=answer(slot.question, outcome.text, outcome.finish_reason == "length"),
        finish_reason=outcome.finish_reason,
        prompt_tokens=outcome.prompt_tokens,
        completion_tokens=outcome.completion_tokens,
        cost=outcome.cost,
        thought=outcome.thought,
        thinking=thinking,
    )


def _write(item: ReasoningPath | Failure, slot: Slot, out: GenerateWriters) -> None:
    if isinstance(item, Failure):
        out.failures.write(item)
        return
    out.paths.write(item)
    if isinstance(slot.outcome, Draft) and slot.outcome.truth:
        label, detail = slot.outcome.truth
        out.truth.write(Truth.model_validate({"path_id": item.id, "label": label, "detail": detail}))
