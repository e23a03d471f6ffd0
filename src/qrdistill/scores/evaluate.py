"""Students answer the dev questions in every style (or those named), then the scored split in the styles dev chose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qrdistill import __version__
from qrdistill.base.errors import ConfigError
from qrdistill.base.ownership import remove_files
from qrdistill.base.progress import Progress, Silent
from qrdistill.base.records import FREE, Answer, Question
from qrdistill.base.store import TableWriter, content_hash, read_table, sweep, write_table
from qrdistill.paths.styles import Style, student_prompt
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.student_style import count_all, dev_scores, style_choices, trained_name, voting_pairs
from qrdistill.students.config import StudentConfig
from qrdistill.students.engines.config import ServerEngine
from qrdistill.students.engines.engine import Engine, Surroundings, Writer

if TYPE_CHECKING:
    from qrdistill.compute.workers import Workers
    from qrdistill.students.decode.decode import Completion

_CORRECT: dict[str, bool | None] = {"correct": True, "wrong": False, "undecided": None}

Source = Path | str | StudentConfig


def evaluate(
    students: Mapping[str, Source],
    questions: Sequence[Question],
    config: EvaluateConfig,
    *,
    styles: Mapping[str, Style],
    held: Mapping[str, str] = {},
    out: TableWriter,
    base_dir: Path,
    seed: int,
    device: str = "auto",
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> int:
    """Writes every student's answers; returns how many. With `workers`, they decode. held: the one style that a
    student has learnt in (`students.best_style`).

    `students` maps a name to an exported folder, a hub id or a whole StudentConfig. A name that ends
    in `pairs.BASE` ("mistral@base") is an untrained student: scored beside the others, never voting.

    Rows stand in the order student, split, question, style, sample. What a student wrote in one style is kept in a
    hidden folder beside the table: a killed run goes on with the next style, and another choice of styles or voters
    asks for nothing that is there. Same seed, same students, same questions: same bytes.
    """
    progress = progress or Silent()
    asked = [question for question in questions if question.split in ("dev", config.split)]
    _check_styles(config, styles)
    parts = out.path.parent / f".{out.path.stem}.parts"
    progress.start("evaluate", len(students))
    settings = {name: _settings(name, source) for name, source in students.items()}
    places = {name: parts / f"{name}-{_key(one, config, base_dir, seed)}" for name, one in settings.items()}
    taken = {name: (settings[name], places[name]) for name in settings}
    exam = Exam(taken, asked, config, styles, base_dir, seed, device, held)
    if workers is not None and not isinstance(config.engine, ServerEngine):  # a server has its own measure
        from qrdistill.scores.apart import write_apart

        write_apart(exam, workers, progress)
        sweep(parts)  # what workers on a node that died were writing
    for name in students:
        with exam.engine(name, progress) as write:
            for row in answer_all(exam.asker(name, write, progress), asked):
                out.write(row)
        progress.advance(student=name)
    for place in parts.glob("*"):
        if place not in places.values():  # of students that have been trained anew since
            remove_files(place, ("*.parquet",))
    progress.done(answers=out.count)
    return out.count


def _settings(name: str, source: Source) -> StudentConfig:
    if isinstance(source, StudentConfig):
        return source
    model = str(source.resolve()) if isinstance(source, Path) else source
    return StudentConfig(name=trained_name(name), model=model)


def _check_styles(config: EvaluateConfig, styles: Mapping[str, Style]) -> None:
    for index, style in enumerate(config.styles if isinstance(config.styles, list) else []):
        if style not in styles:
            raise ConfigError(
                f"style {style!r} is not among the run's styles: {', '.join(styles)}",
                key=f"evaluate.styles.{index}",
            )


def _key(student: StudentConfig, config: EvaluateConfig, base_dir: Path, seed: int) -> str:
    """A hash of all that a student brings along; of a model folder, every file's bytes."""
    _, contents = model_contents(student.model, base_dir)
    settings = student.model_dump(mode="json", exclude={"model"} if contents else None)
    return content_hash([__version__, settings, contents, config.engine.shaping(), seed])


def model_contents(model: str, base_dir: Path) -> tuple[str, list[tuple[str, str]]]:
    """The folder or hub id that a config's `model` means; of a folder, each file's name and content hash."""
    from qrdistill.students.find_model import find_model

    source = find_model(model, base_dir)
    folder = Path(source)
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return source, [(str(path.relative_to(folder)), content_hash(path)) for path in files]


@dataclass(frozen=True)
class Exam:
    """All that asking takes: each student's settings and the folder of its answers, and what is asked."""

    students: Mapping[str, tuple[StudentConfig, Path]]
    questions: Sequence[Question]
    config: EvaluateConfig
    styles: Mapping[str, Style]
    base_dir: Path
    seed: int
    device: str
    held: Mapping[str, str] = field(default_factory=dict[str, str])

    def engine(self, name: str, progress: Progress) -> Engine:
        settings = self.students[name][0]
        around = Surroundings(settings, self.base_dir, self.device, self.seed, progress, self.config.batch_size)
        return Engine(self.config.engine, around)

    def asker(self, name: str, write: Writer, progress: Progress) -> Asker:
        held = {name: self.held[name]} if name in self.held else {}
        return Asker(name, write, self.config, self.styles, self.seed, progress, self.students[name][1], held)


def answer_all(asker: Asker, questions: Sequence[Question]) -> Iterator[Answer]:
    name, config = asker.name, asker.config
    named = asker.chosen(None, []) if isinstance(config.styles, list) else list(asker.modes)
    dev = asker.ask([question for question in questions if question.split == "dev"], named)
    scores = dev_scores(count_all(dev, {question.id: question for question in questions}))
    choice = style_choices(dev, {question.id: question for question in questions}, asker.held).get(name)
    best = choice.style if choice else None
    if choice is None:
        asker.progress.warn(f"{name}: no dev questions to choose a style on, so every style is scored")
    elif warning := choice.warning():
        asker.progress.warn(warning)
    group = [question for question in questions if question.split == config.split]
    if config.split == "dev":
        scored = dev
    else:
        voters = voting_pairs(scores, above=config.vote_above, most=config.vote_styles)
        votes = [pair.style for pair in voters] if config.vote else []
        yield from asker.in_order(dev)
        scored = asker.ask(group, asker.chosen(best, votes))
    if best is not None and config.samples > 1:
        scored = scored + asker.ask(group, [best], sampled=True)
    yield from asker.in_order(scored)


@dataclass(frozen=True)
class Asker:
    """Asks one student; knows every way it may be asked (`modes`, free last), and what it answered before."""

    name: str
    write: Writer
    config: EvaluateConfig
    styles: Mapping[str, Style]
    seed: int
    progress: Progress
    parts: Path  # what it wrote, by style
    held: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def modes(self) -> dict[str, Style | None]:
        return {**self.styles, **({FREE: None} if self.config.free else {})}

    def chosen(self, best: str | None, votes: Sequence[str]) -> list[str]:
        """The styles of the scored split: named, all, or the best on dev and those that vote."""
        if isinstance(self.config.styles, list):
            wanted = {*self.config.styles, FREE}
        elif self.config.styles == "all" or best is None:
            wanted = set(self.modes)
        else:
            wanted = {best, *votes, FREE}
        return [style for style in self.modes if style in wanted]

    def ask(self, questions: Sequence[Question], styles: Sequence[str], *, sampled: bool = False) -> list[Answer]:
        """Greedy answers (sample 0), or `config.samples` sampled ones (1, 2, ...)."""
        answers: list[Answer] = []
        for style in styles if questions else ():
            part = self.part(questions, style, sampled)
            if not part.exists():
                write_table(part, Answer, self._write(questions, style, sampled))
            answers += read_table(part, Answer)
        return answers

    def part(self, questions: Sequence[Question], style: str, sampled: bool) -> Path:
        """Where these answers are kept, named by everything but the student that shapes them."""
        config, mode = self.config, self.modes[style]
        drawn = [config.samples, config.temperature] if sampled else []
        asked = [question.model_dump(mode="json") for question in questions]
        key = content_hash([asked, mode and mode.hint, config.limit, config.stop, drawn])
        return self.parts / f"{questions[0].split}-{style}{'-sampled' if sampled else ''}-{key}.parquet"

    def _write(self, questions: Sequence[Question], style: str, sampled: bool) -> Iterator[Answer]:
        prompts = [student_prompt(question.question, self.modes[style]) for question in questions]
        completions = self.write(
            prompts,
            max_tokens=self.config.limit,
            stop=self.config.stop,
            samples=self.config.samples if sampled else 1,
            temperature=self.config.temperature if sampled else 0.0,
            seed=int(content_hash([self.seed, self.name, style]), 16) % 2**31,
        )
        rows = [
            (question, style, number, completion)
            for question, several in zip(questions, completions, strict=True)
            for number, completion in enumerate(several, start=int(sampled))
        ]
        yield from to_answers(self.name, rows)
        self.progress.log(f"{self.name}: {len(rows)} answers in style {style}")

    def in_order(self, answers: Sequence[Answer]) -> list[Answer]:
        """Question order (as asked), then style, then sample."""
        question = {key: place for place, key in enumerate(dict.fromkeys(a.question_id for a in answers))}
        style = {name: place for place, name in enumerate(self.modes)}
        return sorted(answers, key=lambda a: (question[a.question_id], style[a.style], a.sample))


def to_answers(
    student: str,
    written: Sequence[tuple[Question, str, int, Completion]],
    *,
    training: Literal["trained", "untrained"] = "trained",
) -> Iterator[Answer]:
    """What a student wrote, (question, style, sample, completion) each, as answers that are read and compared."""
    from qrdistill.answers.check import check_many

    checks = check_many((question, done.text, done.finish_reason == "length") for question, _, _, done in written)
    for (question, style, sample, completion), checked in zip(written, checks, strict=True):
        yield Answer(
            student=student,
            question_id=question.id,
            split=question.split,
            style=style,
            sample=sample,
            text=completion.text,
            answer=checked.answer,
            correct=_CORRECT[checked.outcome],
            reason=checked.reason,
            logprob=completion.logprob,
            tokens=completion.tokens,
            finish_reason=completion.finish_reason,
            training=training,
        )
