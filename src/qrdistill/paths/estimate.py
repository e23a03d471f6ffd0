"""What generation will ask and cost, before a cent is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from qrdistill.base.progress import Silent
from qrdistill.base.records import Question
from qrdistill.base.thoughts import Thinking, taught
from qrdistill.llm.client import grouped, longer, prompt_estimate
from qrdistill.llm.config import OpenAITeacher
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.paths.config import PathsConfig, TeacherConfig
from qrdistill.paths.generate import check_teachers
from qrdistill.paths.styles import resolve_styles, student_prompt
from qrdistill.paths.teachers import Draft
from qrdistill.paths.wanted_paths import ChatRequests, Slot, slot_source

T = TypeVar("T")
_LOOKED_AT = 200  # paths of a teacher whose tokens are counted


@dataclass(frozen=True)
class TeacherPlan:
    """One teacher's share. Tokens, dollars and minutes are those of the replies still to be bought."""

    name: str
    kind: str
    model: str
    calls: int  # still to be asked
    cached: int
    prompt_tokens: int
    output_tokens: int
    usd: float
    usd_at_most: float  # if every reply used all its max_tokens, and was asked for again where that is set
    minutes: float | None  # None: no limit is set and no latency is known
    prompt_basis: str  # how prompt_tokens was found
    output_basis: str
    usd_cached: float = 0.0  # what the cached ones cost when they were bought
    tokens_cached: int = 0  # in and out


@dataclass(frozen=True)
class PathsPlan:
    teachers: tuple[TeacherPlan, ...]
    ready: dict[str, int] = field(default_factory=dict)  # teachers with ready paths: how many they have
    texts: tuple[tuple[str, str], ...] = ()  # some paths that are at hand: what a student is asked, what it would learn
    over_budget: str = ""  # why the run would stop before its end; empty: it would not

    @property
    def usd(self) -> float:
        return sum(teacher.usd for teacher in self.teachers)

    @property
    def minutes(self) -> float | None:
        """Teachers are asked at the same time, so the slowest decides."""
        known = [teacher.minutes for teacher in self.teachers if teacher.minutes is not None]
        return max(known) if known else None


def plan_paths(
    questions: Sequence[Question],
    teachers: Sequence[TeacherConfig],
    config: PathsConfig,
    *,
    cache: ReplyCache,
    base_dir: Path,
    seed: int,
) -> PathsPlan:
    """Counts what `generate` would ask with these very arguments; sends nothing, needs no key.

    Raises what `generate` raises for a config that cannot be used.
    """
    asked = [question for question in questions if question.split == "train"]
    styles = resolve_styles(config.styles)
    check_teachers(teachers, styles)
    plans: list[TeacherPlan] = []
    ready: dict[str, int] = {}
    texts: list[tuple[str, str]] = []
    for teacher in teachers:
        source = slot_source(teacher, asked, styles, config, cache, base_dir, seed, Silent())
        if isinstance(source, ChatRequests):
            plans.append(_teacher_plan(source, cache))
            some = source.slots(_spread(asked, _LOOKED_AT)) if plans[-1].cached else {}
        else:
            some = source.slots(asked)
            ready[teacher.name] = sum(map(len, some.values()))
        drafts = [slot for slots in some.values() for slot in slots if isinstance(slot.outcome, Draft)]
        texts += [_texts(slot, teacher.thinking) for slot in _spread(drafts, _LOOKED_AT)]
    return PathsPlan(tuple(plans), ready, tuple(texts), _over_budget(plans, config))


def _spread(items: Sequence[T], count: int) -> list[T]:
    return list(items[:: max(1, -(-len(items) // count))])


def _texts(slot: Slot, thinking: Thinking) -> tuple[str, str]:
    """What a student would be asked and would learn."""
    assert isinstance(slot.outcome, Draft)
    text, thought = slot.outcome.text, slot.outcome.thought
    lesson = text if thinking == "drop" or not thought else taught(thought, text) if thinking == "keep" else thought
    return student_prompt(slot.question.question, slot.style), lesson


def _teacher_plan(source: ChatRequests, cache: ReplyCache) -> TeacherPlan:
    config = source.config
    calls = estimated = 0
    cached = cached_estimated = cached_prompt = cached_output = 0
    usd_cached = seconds = 0.0
    for group in grouped(source, 256):
        found = cache.replies(group)
        for request in group:
            reply = found.get(request.key)
            more = longer(config, request, reply) if reply else None
            if reply is None or (more and more.key not in cache.replies([more])):
                calls += 1
                estimated += prompt_estimate(request)
            if reply is not None:
                cached += 1
                cached_estimated += prompt_estimate(request)
                cached_prompt += reply.prompt_tokens
                cached_output += reply.completion_tokens
                usd_cached += reply.cost
                seconds += reply.latency
    if cached_prompt:
        prompt_tokens = round(estimated * cached_prompt / cached_estimated)
        prompt_basis = f"counted by pieces of words, scaled by what the server counted for {cached} prompts"
    else:
        prompt_tokens, prompt_basis = estimated, "counted by pieces of words; no reply yet to scale it by"
    if cached:
        output_tokens = round(calls * cached_output / cached)
        output_basis = f"mean of the {cached} replies in the cache"
    else:
        output_tokens, output_basis = calls * config.max_tokens, "max_tokens of every call; no reply yet"
    price = config.price_paid if isinstance(config, OpenAITeacher) else None
    again = (config.retry_truncated or 0) if isinstance(config, OpenAITeacher) else 0
    tries = 2 if again > config.max_tokens else 1  # at most: every reply cut, and asked for once more
    usd, most = (
        (prompts * price.input + tokens * price.output) / 1e6 if price else 0.0
        for prompts, tokens in (
            (prompt_tokens, output_tokens),
            (tries * prompt_tokens, calls * (config.max_tokens + (again if tries == 2 else 0))),
        )
    )
    return TeacherPlan(
        name=config.name,
        kind=config.kind,
        model=config.model,
        calls=calls,
        cached=cached,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        usd=usd,
        usd_at_most=most,
        minutes=_minutes(source, calls, prompt_tokens + output_tokens, seconds / cached if cached else None),
        prompt_basis=prompt_basis,
        output_basis=output_basis,
        usd_cached=usd_cached,
        tokens_cached=cached_prompt + cached_output,
    )


def _minutes(source: ChatRequests, calls: int, tokens: int, latency: float | None) -> float | None:
    """The tightest of the limits: requests and tokens a minute, and latency over concurrency."""
    config = source.config
    bounds: list[float] = []
    if isinstance(config, OpenAITeacher) and not config.batch:  # a batch takes what it takes, up to a day
        if config.requests_per_minute:
            bounds.append(calls / config.requests_per_minute)
        if config.tokens_per_minute:
            bounds.append(tokens / config.tokens_per_minute)
        if latency is not None:
            bounds.append(calls * latency / (config.concurrency * len(config.addresses)) / 60)
    if not calls:
        return 0.0
    return max(bounds) if bounds else None


def _over_budget(plans: Sequence[TeacherPlan], config: PathsConfig) -> str:
    usd = sum(plan.usd + plan.usd_cached for plan in plans)
    if config.budget_usd is not None and usd > config.budget_usd:
        return f"about ${usd:.2f} are needed in all, budget_usd is {config.budget_usd:g}"
    tokens = sum(plan.prompt_tokens + plan.output_tokens + plan.tokens_cached for plan in plans)
    if config.budget_tokens is not None and tokens > config.budget_tokens:
        return f"about {tokens} tokens are needed in all, budget_tokens is {config.budget_tokens}"
    return ""
