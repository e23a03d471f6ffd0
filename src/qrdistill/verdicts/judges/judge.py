"""Who may judge a path: the protocol, the registry, and how a config's entries become judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydantic_core import PydanticCustomError

from qrdistill.base.errors import ConfigError
from qrdistill.base.plugins import registry
from qrdistill.base.records import Outcome, Question
from qrdistill.llm.config import OpenAITeacher, TransformersTeacher
from qrdistill.verdicts.config import JUDGES, FilterConfig, JudgeConfig

if TYPE_CHECKING:
    from qrdistill.paths.config import TeacherConfig


@dataclass(frozen=True)
class Judgement:
    """One vote: `keep` (sound), `drop` (spurious) or `undecided`.

    `quote` is the first wrong step as the judge quoted it. `failed` marks a vote that could not be
    asked for (a broken connection, say): it is undecided, no setting turns it into a kept path, and
    since nothing was cached the next run asks again.
    """

    outcome: Outcome
    reason: str = ""
    confidence: float | None = None  # 0 to 1
    quote: str | None = None
    failed: bool = False


@dataclass(frozen=True)
class Item:
    """What a judge is shown: never the gold answer, never another judge's vote."""

    question: Question  # blinded, see `blind`
    text: str
    vote: int = 0


class Judge(Protocol):
    """A judge that answers one item at once (made by `factory(config, *, seed)`)."""

    def judge(self, question: Question, text: str, vote: int) -> Judgement: ...


class BatchJudge(Protocol):
    """A judge that answers many items together, in order. `usd`: what its replies so far have cost, also
    those that an earlier run paid for. `repaired`: the share of its readable replies that only the second reading
    could read; None where it writes none."""

    usd: float

    @property
    def repaired(self) -> float | None: ...

    def judge_many(self, items: Sequence[Item]) -> list[Judgement]: ...


class OneByOne:
    """A `Judge` as a `BatchJudge`."""

    usd = 0.0
    repaired: float | None = None

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def judge_many(self, items: Sequence[Item]) -> list[Judgement]:
        return [self._judge.judge(item.question, item.text, item.vote) for item in items]


@dataclass(frozen=True)
class Seat:
    """A judge on the panel, under the name its verdicts carry."""

    name: str
    judge: BatchJudge


def blind(question: Question) -> Question:
    """The question as a judge may see it: without gold answer and metadata."""
    return question.model_copy(update={"gold": None, "metadata": {}})


def resolve(entry: str | JudgeConfig, teachers: Sequence[TeacherConfig], *, key: str, votes: int = 1) -> JudgeConfig:
    """The config that an entry of `filter.judges` stands for; raises ConfigError for an unknown one.

    A single vote is asked for at temperature 0 unless a judge's own entry sets one: a teacher's
    temperature is meant for writing.
    """
    if not isinstance(entry, str):
        asked = isinstance(entry, OpenAITeacher | TransformersTeacher)
        once = asked and "temperature" not in entry.model_fields_set and votes == 1
        return entry.model_copy(update={"temperature": 0.0}) if once else entry
    named = {teacher.name: teacher for teacher in teachers}
    teacher = named.get(entry)
    if isinstance(teacher, OpenAITeacher | TransformersTeacher):
        return teacher if votes > 1 else teacher.model_copy(update={"temperature": 0.0})
    ready = [name for name in registry.names("judges") if name not in JUDGES.own]
    if teacher is None and (entry in ready or ":" in entry):
        return _by_kind(entry, key)
    able = [name for name, one in named.items() if isinstance(one, OpenAITeacher | TransformersTeacher)]
    kind = getattr(teacher, "kind", "")
    what = f"the {kind} teacher {entry!r} cannot judge" if teacher else f"unknown judge {entry!r}"
    raise ConfigError(
        f"{what}; name one of: {', '.join([*ready, *able])}, or write an endpoint of its own "
        "(kind, name, model, base_url)",
        key=key,
    )


def _by_kind(kind: str, key: str) -> JudgeConfig:
    """A registered judge that was named alone; it is called after its kind where it has no name of its own."""
    given = {"name": kind.rpartition(":")[2], "kind": kind}
    try:
        settings = JUDGES.settings_of(kind)
        if not settings.model_fields["name"].is_required():
            del given["name"]
        return JUDGES.read(given)  # type: ignore[return-value]
    except ConfigError as error:
        raise ConfigError(error.message, key=key) from error
    except PydanticCustomError as error:
        raise ConfigError(
            f"{error.message()}; write this judge as {{kind: {kind}, ...}} with its keys", key=key
        ) from None


def appoint(config: FilterConfig, teachers: Sequence[TeacherConfig]) -> list[tuple[JudgeConfig, str]]:
    """The panel of `filter.judges`, then the judge that undecided paths are escalated to, where one is.

    Each with its config key; nothing is loaded. Raises ConfigError.
    """
    panel: dict[str, tuple[JudgeConfig, str]] = {}
    for index, entry in enumerate(config.judges):
        key = f"filter.judges.{index}"
        judge = resolve(entry, teachers, key=key, votes=config.votes)
        if config.votes > 1 and getattr(judge, "temperature", None) == 0:
            raise ConfigError(
                f"{config.votes} votes of {judge.name!r} at temperature 0 are one vote; raise its temperature "
                "or set filter.votes: 1",
                key=key,
            )
        if judge.name in panel:
            raise ConfigError(
                f"two judges are named {judge.name!r}; give each its own name (several votes of one judge: "
                "filter.votes)",
                key=key,
            )
        panel[judge.name] = judge, key
    if config.undecided == "escalate" and panel:
        key = "filter.escalate_to"
        if config.escalate_to is None:
            raise ConfigError("filter.undecided is 'escalate', so name the judge that then decides", key=key)
        judge = resolve(config.escalate_to, teachers, key=key)
        if judge.name in panel:
            raise ConfigError(f"{judge.name!r} is on the panel already; name another judge", key=key)
        panel[judge.name] = judge, key
    return list(panel.values())


def seat_judges(
    config: FilterConfig, teachers: Sequence[TeacherConfig], *, seed: int, **surroundings: Any
) -> tuple[list[Seat], Seat | None]:
    """The panel, and the judge that undecided paths are escalated to.

    `surroundings` (cache, base_dir, progress, budget) reach the judges that send requests.
    """
    seats = [_seat(judge, seed=seed, key=key, **surroundings) for judge, key in appoint(config, teachers)]
    escalation = seats.pop() if config.undecided == "escalate" and seats else None
    return seats, escalation


def _seat(config: JudgeConfig, *, seed: int, key: str, **surroundings: Any) -> Seat:
    factory = registry.find("judges", config.kind, key=key)
    if isinstance(config, OpenAITeacher | TransformersTeacher):
        return Seat(config.name, factory(config, seed=seed, **surroundings))
    return Seat(config.name, OneByOne(factory(config, seed=seed)))
