"""The places that generation fills: question x teacher x style x sample, in canonical order.

A slot holds a draft, or the reason why there is none. Teachers with ready paths fill theirs at once,
chat teachers from the reply cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qrdistill.base.progress import Progress
from qrdistill.base.records import Question
from qrdistill.base.store import content_hash
from qrdistill.llm.client import ChatConfig, Requests, longer
from qrdistill.llm.config import OpenAITeacher, TeacherBase, TransformersTeacher
from qrdistill.llm.reply_cache import ChatRequest, Failed, Reply, ReplyCache
from qrdistill.paths.config import PathsConfig, TeacherConfig
from qrdistill.paths.prompts import instruction, teacher_messages
from qrdistill.paths.replay import ReplayTeacherImplementation
from qrdistill.paths.styles import Style
from qrdistill.paths.teachers import CountsSamples, Draft, PathTeacher, ReportsProblems, make_path_teacher


@dataclass(frozen=True)
class Slot:
    """One place in the canonical order, and what stands in it."""

    question: Question
    teacher: str
    style: Style
    sample: int
    prompt_hash: str
    outcome: Draft | Failed


def styles_of(teacher: TeacherBase, styles: Mapping[str, Style]) -> list[Style]:
    """The run's styles that this teacher writes in, in the run's order."""
    return [style for style in styles.values() if teacher.styles is None or style.name in teacher.styles]


def samples_of(round: int, per_style: int) -> range:
    """The numbers of a round's samples: who is asked again is asked for further ones.

    >>> samples_of(0, 2), samples_of(1, 2)
    (range(0, 2), range(2, 4))
    """
    return range(round * per_style, (round + 1) * per_style)


class ReadyPaths:
    """The slots of a teacher that has its paths at hand."""

    def __init__(
        self, teacher: TeacherConfig, maker: PathTeacher, styles: Sequence[Style], per_style: int, round: int = 0
    ) -> None:
        self._name, self._maker, self._styles = teacher.name, maker, styles
        self._per_style, self._round = per_style, round

    def slots(self, questions: Sequence[Question]) -> dict[str, list[Slot]]:
        return {question.id: list(self._of(question)) for question in questions}

    def _of(self, question: Question) -> Iterator[Slot]:
        for style in self._styles:
            prompt_hash = content_hash([question.question, instruction(question, style)])
            for sample in self._samples(question, style):
                draft = self._maker.path(question, style, sample)
                if draft is not None:
                    yield Slot(question, draft.teacher or self._name, style, sample, prompt_hash, draft)

    def _samples(self, question: Question, style: Style) -> range:
        if isinstance(self._maker, CountsSamples):  # all that it has are handed out in round 0
            return range(0 if self._round else self._maker.samples(question, style))
        return samples_of(self._round, self._per_style)


class ChatRequests:
    """A chat teacher's requests, made anew on every walk, and its slots once the cache is filled."""

    def __init__(
        self,
        config: ChatConfig,
        questions: Sequence[Question],
        styles: Sequence[Style],
        per_style: int,
        *,
        cache: ReplyCache,
        base_dir: Path,
        round: int = 0,
    ) -> None:
        self.config, self._questions = config, questions
        self._styles, self._cache = styles, cache
        self._samples = samples_of(round, per_style)
        self._make = Requests(config, base_dir=base_dir)

    def __len__(self) -> int:
        return len(self._questions) * len(self._styles) * len(self._samples)

    def __iter__(self) -> Iterator[ChatRequest]:
        for question in self._questions:
            for _, _, request in self._of(question):
                yield request

    def _of(self, question: Question) -> Iterator[tuple[Style, int, ChatRequest]]:
        for style in self._styles:
            messages = teacher_messages(question, style, self.config.system)
            for sample in self._samples:
                yield style, sample, self._make(messages, sample=sample, label=style.name)

    def slots(self, questions: Sequence[Question]) -> dict[str, list[Slot]]:
        asked = {question.id: list(self._of(question)) for question in questions}
        requests = [request for places in asked.values() for _, _, request in places]
        replies = self._cache.replies(requests)
        failures = self._cache.failures([one.key for one in requests if one.key not in replies])
        slots: dict[str, list[Slot]] = {}
        for question in questions:
            slots[question.id] = [
                Slot(
                    question,
                    self.config.name,
                    style,
                    sample,
                    content_hash(request.messages),
                    self._draft(request, replies[request.key])
                    if request.key in replies
                    else failures.get(request.key, Failed("was never asked")),
                )
                for style, sample, request in asked[question.id]
            ]
        return slots

    def _draft(self, request: ChatRequest, reply: Reply) -> Draft:
        """The reply, or the longer one that took a truncated one's place; both were paid for."""
        more = longer(self.config, request, reply)
        again = self._cache.replies([more]).get(more.key) if more else None
        last = again or reply
        return Draft(
            text=last.parts.answer,
            thought=last.parts.thought,
            finish_reason=last.finish_reason,
            prompt_tokens=reply.prompt_tokens + (again.prompt_tokens if again else 0),
            completion_tokens=reply.completion_tokens + (again.completion_tokens if again else 0),
            cost=reply.cost + (again.cost if again else 0.0),
        )


def slot_source(
    teacher: TeacherConfig,
    questions: Sequence[Question],
    styles: Mapping[str, Style],
    config: PathsConfig,
    cache: ReplyCache,
    base_dir: Path,
    seed: int,
    progress: Progress,
    round: int = 0,
) -> ReadyPaths | ChatRequests:
    own = styles_of(teacher, styles)
    if isinstance(teacher, OpenAITeacher | TransformersTeacher):
        return ChatRequests(teacher, questions, own, config.per_style, cache=cache, base_dir=base_dir, round=round)
    maker = make_path_teacher(teacher, base_dir=base_dir, seed=seed, questions=questions)
    if isinstance(maker, ReplayTeacherImplementation):
        maker.check_styles(list(styles))
    if isinstance(maker, ReportsProblems) and not round:  # of all questions; a later round asks for some
        maker.report(progress)
    return ReadyPaths(teacher, maker, own, config.per_style, round)
