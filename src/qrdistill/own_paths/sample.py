"""Own and peer paths: the students write further paths, and what the filter keeps joins the pool.

    round 0: the teachers' paths train the students for `own_paths.warm_share` of the steps
    round r: each student samples paths on the training questions in its style, which dev questions
             change only beyond chance; what passes the run's own filter is added, unless that is
             next to nothing (`guard`); all students go on training on the pool

The paper stops at round 0; this goes past it (self-training on verified own samples, with the
students' peers as second teachers).
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qrdistill.base.progress import Progress
from qrdistill.base.records import Question, ReasoningPath, path_id
from qrdistill.base.store import TableWriter, content_hash
from qrdistill.base.thoughts import part
from qrdistill.own_paths.config import OwnPathsConfig
from qrdistill.paths.styles import Style, student_prompt
from qrdistill.students.config import StudentConfig
from qrdistill.training.config import TrainConfig

if TYPE_CHECKING:
    from qrdistill.students.best_style import StyleChange, StyleTrial
    from qrdistill.students.decode.decode import Completion


@dataclasses.dataclass(frozen=True)
class Sampled:
    """What one round of sampling came to; `tokens` and `decodes` are its cost."""

    paths: int
    decodes: int
    tokens: int
    styles: dict[str, str]  # student -> the style it sampled in
    accuracy: dict[str, dict[str, float]]  # student -> style -> share of dev questions right: what chose it
    changes: dict[str, StyleChange]  # of the students for which dev prefers another style than they had
    trials: dict[str, dict[str, StyleTrial]]  # the same, with all that a choice reads


def steps_of_round(train: TrainConfig, own: OwnPathsConfig, round: int) -> int:
    """Training steps of one round; all rounds together spend `train.steps`.

    >>> [steps_of_round(TrainConfig(steps=100), OwnPathsConfig(rounds=2), r) for r in range(3)]
    [20, 40, 40]
    """
    if own.rounds == 0:
        return train.num_steps
    first = int(train.num_steps * own.warm_share + 0.5)
    if round == 0:
        return first
    rest, rounds = train.num_steps - first, own.rounds
    return rest * round // rounds - rest * (round - 1) // rounds


def sample_paths(
    students: Sequence[StudentConfig],
    questions: Sequence[Question],
    styles: Mapping[str, Style],
    config: OwnPathsConfig,
    *,
    kept: Iterable[ReasoningPath] = (),
    before: Mapping[str, str] = {},
    round: int,
    out: TableWriter,
    base_dir: Path,
    seed: int,
    dev_tokens: int,
    stop: Sequence[str] = (),
    batch_size: int = 64,
    device: str = "auto",
    progress: Progress,
) -> Sampled:
    """Every student writes `config.samples` paths for every training question, or for its gaps.

    A gap is a question for which `kept`, the pool so far, has no path in the student's style: neither a
    teacher's nor the student's own. The style is that of `before` (by student), unless dev answers, cut at `dev_tokens`,
    show another to be better; without one, the student's best (`students.best_style`). `stop` texts end these and the
    paths. Rows stand in canonical order: question, student, sample. The teacher of such a path is the student's name,
    its `round` says which students wrote it.
    """
    from qrdistill.students.best_style import choose_style, dev_sample, try_styles
    from qrdistill.students.engines.engine import Engine, Surroundings

    train = [question for question in questions if question.split == "train"]
    names = {settings.name for settings in students}
    has = {(path.question_id, path.style, path.teacher if path.teacher in names else "") for path in kept}
    dev = dev_sample(questions)
    progress.start("sample", len(students))
    decodes = tokens = 0
    best: dict[str, str] = {}
    accuracy: dict[str, dict[str, float]] = {}
    tried: dict[str, dict[str, StyleTrial]] = {}
    changes: dict[str, StyleChange] = {}
    written: dict[str, dict[str, list[Any]]] = {}
    for settings in students:
        around = Surroundings(settings, base_dir, device, seed, progress, batch_size)
        with Engine(config.engine, around, key="own_paths.engine") as write:
            trials = try_styles(write, dev, styles, max_tokens=dev_tokens, stop=stop)
            tried[settings.name] = trials
            accuracy[settings.name] = {name: one.accuracy for name, one in trials.items()}
            choice = choose_style(settings.name, trials, before.get(settings.name))
            best[settings.name] = style = choice.style
            if choice.change:
                changes[settings.name] = choice.change
            if warning := choice.warning():
                progress.warn(warning)
            asked = train
            if config.ask == "gaps":
                authors = ("", settings.name)
                asked = [row for row in train if not any((row.id, style, author) in has for author in authors)]
            decodes += len(dev) * len(styles) + len(asked) * config.samples
            completions = write(
                [student_prompt(question.question, styles[style]) for question in asked],
                max_tokens=config.max_tokens or dev_tokens,
                temperature=config.temperature,
                samples=config.samples,
                seed=int(content_hash([seed, round]), 16) % 2**31,
                stop=stop,
            )
        written[settings.name] = dict(zip((question.id for question in asked), completions, strict=True))
        progress.advance(student=settings.name, style=style)
    for question in train:
        for settings in students:
            style = best[settings.name]
            for sample, completion in enumerate(written[settings.name].get(question.id, ())):
                tokens += completion.tokens
                out.write(_as_path(question, settings.name, style, sample, completion, round))
    progress.done(paths=out.count, **best)
    return Sampled(out.count, decodes, tokens, best, accuracy, changes, tried)


def _as_path(
    question: Question, student: str, style: str, sample: int, completion: Completion, round: int
) -> ReasoningPath:
    from qrdistill.answers.check import extract
    from qrdistill.answers.statements import own_turn

    thought, text, _ = part(completion.text)
    return ReasoningPath(
        id=path_id(round, question.id, student, style, sample),
        round=round,
        question_id=question.id,
        teacher=student,
        style=style,
        sample=sample,
        prompt_hash=content_hash([question.question, style, student, round]),
        text=own_turn(text),
        thought=thought,
        thinking="keep" if thought else "drop",
        answer=extract(question, completion.text, cut=completion.finish_reason == "length").answer,
        finish_reason=completion.finish_reason,
        completion_tokens=completion.tokens,
    )


def agreed_gold(
    questions: Mapping[str, Question], paths: Iterable[ReasoningPath], taught: set[str], min_share: float
) -> tuple[dict[str, Question], dict[str, str], dict[str, float]]:
    """Questions with the students' agreed answer in the place of gold, for those not in `taught`.

    An answer is agreed where at least `min_share` of all sampled paths of the question state it; a question
    without agreement has no gold, and the second result says why: its paths are undecided. Gold is read only to
    measure how often agreement is right: `precision` and `coverage` of the third result.
    """
    from qrdistill.answers.check import canonical

    stated: dict[str, Counter[str | None]] = defaultdict(Counter)
    for path in paths:
        stated[path.question_id][canonical(questions[path.question_id], path.answer)] += 1
    replaced: dict[str, Question] = {}
    unsettled: dict[str, str] = {}
    right = agreed = asked = 0
    for identity, question in questions.items():
        if question.split != "train" or identity in taught:
            replaced[identity] = question
            continue
        asked += 1
        votes = stated.get(identity, Counter())
        answers = ((said, number) for said, number in votes.items() if said is not None)
        answer, count = max(answers, key=lambda one: one[1], default=(None, 0))
        settled = answer is not None and count >= min_share * votes.total()
        replaced[identity] = question.model_copy(update={"gold": answer if settled else None})
        if settled:
            agreed += 1
            right += answer == canonical(question, question.gold)
        elif votes:
            unsettled[identity] = (
                f"{count} of {votes.total()} sampled paths state one answer, fewer than own_paths.min_agreement asks for"
            )
    return replaced, unsettled, {"precision": right / max(1, agreed), "coverage": agreed / max(1, asked)}


def eligibility(
    kept: Iterable[ReasoningPath],
    students: Sequence[str],
    peers: str,
    *,
    taught: Iterable[ReasoningPath] = (),
) -> tuple[list[ReasoningPath], dict[str, frozenset[str]]]:
    """Which students may train on which of their kept own paths; identical texts count once.

    `own`: a path trains the student that wrote it. `peer`: it trains all others. `fill`: it trains
    its writer, and those others that have no kept path of their own for the question. A teacher's path
    in `taught` counts as their own for those who write in its style.
    """
    chosen: list[ReasoningPath] = []
    seen: set[tuple[str, str, str]] = set()
    has: dict[str, set[str]] = defaultdict(set)
    for path in kept:
        mark = (path.question_id, path.teacher, path.lesson)
        if mark not in seen:
            seen.add(mark)
            chosen.append(path)
            has[path.question_id].add(path.teacher)
    writers: dict[str, set[str]] = defaultdict(set)  # style -> who writes in it
    for path in chosen:
        writers[path.style].add(path.teacher)
    for path in taught:
        has[path.question_id] |= writers.get(path.style, set())
    allowed: dict[str, frozenset[str]] = {}
    for path in chosen:
        others = frozenset(name for name in students if name != path.teacher)
        if peers == "own":
            allowed[path.id] = frozenset({path.teacher})
        elif peers == "peer":
            allowed[path.id] = others
        else:
            allowed[path.id] = frozenset({path.teacher}) | (others - has[path.question_id])
    return [path for path in chosen if allowed[path.id]], allowed
