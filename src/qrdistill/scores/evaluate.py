"""Students answer the dev questions in every style (or those named), then the scored split in the styles dev chose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qrdistill.base.errors import ConfigError
from qrdistill.base.ownership import remove_files
from qrdistill.base.progress import Progress, Silent
from qrdistill.base.records import FREE, Answer, Question
from qrdistill.base.store import TableWriter, content_hash, read_table, write_table
from qrdistill.paths.styles import Style, student_prompt
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.engines import Writer, open_engine
from qrdistill.scores.student_style import best_styles, count_all, dev_scores, trained_name, voting_pairs
from qrdistill.students.config import StudentConfig

_CORRECT: dict[str, bool | None] = {"correct": True, "wrong": False, "undecided": None}

Source = Path | str | StudentConfig


def evaluate(
    students: Mapping[str, Source],
    questions: Sequence[Question],
    config: EvaluateConfig,
    *,
    styles: Mapping[str, Style],
    out: TableWriter,
    base_dir: Path,
    seed: int,
    device: str = "auto",
    progress: Progress | None = None,
) -> int:
    """Writes every student's answers; returns how many.

    `students` maps a name to an exported folder, a hub id or a whole StudentConfig. A name that ends
    in `pairs.BASE` ("mistral@base") is an untrained student: scored beside the others, never voting.

    Rows stand in the order student, split, question, style, sample. A student that is finished is
    kept in a hidden folder beside the table until all are, so a killed run goes on with the next one.
    Same seed, same students, same questions: same bytes.
    """
    progress = progress or Silent()
    asked = [question for question in questions if question.split in ("dev", config.split)]
    _check_styles(config, styles)
    parts = out.path.parent / f".{out.path.stem}.parts"
    progress.start("evaluate", len(students))
    for name, source in students.items():
        student = _settings(name, source)
        part = parts / f"{name}-{_key(student, base_dir, asked, config, styles, seed, device)}.parquet"
        if not part.exists():
            rows = _answer_all(name, student, asked, config, styles, base_dir, seed, device, progress)
            write_table(part, Answer, rows)
        for row in read_table(part, Answer):
            out.write(row)
        progress.advance(student=name)
    remove_files(parts, ("*.parquet",))
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


def _key(
    student: StudentConfig,
    base_dir: Path,
    questions: Sequence[Question],
    config: EvaluateConfig,
    styles: Mapping[str, Style],
    seed: int,
    device: str,
) -> str:
    """A hash of all that shapes one student's answers; of a model folder, every file's bytes."""
    from qrdistill.students.loading import find_model

    folder = Path(find_model(student.model, base_dir))
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return content_hash(
        [
            student.model_dump(mode="json", exclude={"model"} if files else None),
            [(str(path.relative_to(folder)), content_hash(path)) for path in files],
            [question.model_dump(mode="json") for question in questions],
            config.model_dump(mode="json"),
            [(name, style.hint) for name, style in styles.items()],
            seed,
            device,
        ]
    )


def _answer_all(
    name: str,
    settings: StudentConfig,
    questions: Sequence[Question],
    config: EvaluateConfig,
    styles: Mapping[str, Style],
    base_dir: Path,
    seed: int,
    device: str,
    progress: Progress,
) -> Iterator[Answer]:
    write = open_engine(settings, config, base_dir=base_dir, device=device, seed=seed, progress=progress)
    asker = _Asker(name, write, config, styles, seed, progress)
    named = asker.chosen(None, []) if isinstance(config.styles, list) else list(asker.modes)
    dev = asker.ask([question for question in questions if question.split == "dev"], named)
    scores = dev_scores(count_all(dev, {question.id: question for question in questions}))
    best = best_styles(scores).get(name)
    if best is None:
        progress.warn(f"{name}: no dev questions to choose a style on, so every style is scored")
    if config.split == "dev":
        scored = dev
    else:
        voters = voting_pairs(scores, above=config.vote_above, most=config.vote_styles)
        votes = [pair.style for pair in voters] if config.vote else []
        yield from asker.in_order(dev)
        group = [question for question in questions if question.split == config.split]
        scored = asker.ask(group, asker.chosen(best, votes))
    if best is not None and config.samples > 1:
        group = [question for question in questions if question.split == config.split]
        scored = scored + asker.ask(group, [best], sampled=True)
    yield from asker.in_order(scored)


@dataclass(frozen=True)
class _Asker:
    """Asks one loaded student; knows every way it may be asked (`modes`, free last)."""

    name: str
    write: Writer
    config: EvaluateConfig
    styles: Mapping[str, Style]
    seed: int
    progress: Progress

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
        from qrdistill.answers.check import check_many

        answers: list[Answer] = []
        for style in styles:
            prompts = [student_prompt(question.question, self.modes[style]) for question in questions]
            completions = self.write(
                prompts,
                samples=self.config.samples if sampled else 1,
                temperature=self.config.temperature if sampled else 0.0,
                seed=int(content_hash([self.seed, self.name, style]), 16) % 2**31,
            )
            rows = [
                (question, number, completion)
                for question, several in zip(questions, completions, strict=True)
                for number, completion in enumerate(several, start=int(sampled))
            ]
            checks = check_many((question, completion.text) for question, _, completion in rows)
            for (question, number, completion), checked in zip(rows, checks, strict=True):
                answers.append(
                    Answer(
                        student=self.name,
                        question_id=question.id,
                        split=question.split,
                        style=style,
                        sample=number,
                        text=completion.text,
                        answer=checked.answer,
                        correct=_CORRECT[checked.outcome],
                        reason=checked.reason,
                        logprob=completion.logprob,
                        tokens=completion.tokens,
                        finish_reason=completion.finish_reason,
                    )
                )
            self.progress.log(f"{self.name}: {len(rows)} answers in style {style}")
        return answers

    def in_order(self, answers: Sequence[Answer]) -> list[Answer]:
        """Question order (as asked), then style, then sample."""
        question = {key: place for place, key in enumerate(dict.fromkeys(a.question_id for a in answers))}
        style = {name: place for place, name in enumerate(self.modes)}
        return sorted(answers, key=lambda a: (question[a.question_id], style[a.style], a.sample))
