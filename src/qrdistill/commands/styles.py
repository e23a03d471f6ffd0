"""`qrdistill styles`: the built-in ones, and a search for new ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qrdistill.base import records
from qrdistill.base.errors import ConfigError
from qrdistill.base.ownership import claim
from qrdistill.base.progress import Progress, Silent
from qrdistill.base.records import Question
from qrdistill.base.store import TableWriter, read_table
from qrdistill.commands.show import clean
from qrdistill.commands.tables import print_table
from qrdistill.llm.config import OpenAITeacher, TransformersTeacher
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.paths.style_search import search_styles
from qrdistill.paths.styles import STYLES
from qrdistill.questions.load import load_questions
from qrdistill.runs.config import Config
from qrdistill.runs.load_config import load_config
from qrdistill.verdicts.filter import filter_paths


def list_styles(*, as_json: bool = False) -> None:
    if as_json:
        print(json.dumps([dataclasses.asdict(style) for style in STYLES.values()]))
        return
    rows = [[style.name, style.instruction, style.hint] for style in STYLES.values()]
    print_table(["name", "a teacher is told", "a student is told"], rows)


def search(
    config: Path,
    run_dir: Path | None,
    overrides: Sequence[str],
    *,
    rounds: int,
    teacher: str | None,
    candidates: int,
    questions: int,
    progress: Progress,
) -> None:
    """Searches, prints every candidate, and says where the accepted ones stand. Resumes for free."""
    resolved = load_config(config, overrides)
    folder = (run_dir or Path("runs") / resolved.name) / "styles"
    claim(folder.parent)
    claim(folder)
    base = config.resolve().parent
    asked = load_questions(resolved.questions, seed=resolved.seed, base_dir=base)
    with ReplyCache(folder.parent.parent / "replies.sqlite") as cache:

        def keep(by_id: Mapping[str, Question], paths: Sequence[records.ReasoningPath]) -> set[str]:
            table = folder / "trial.parquet"
            with TableWriter(table, records.Verdict) as out:
                filter_paths(
                    by_id,
                    paths,
                    resolved.filter,
                    teachers=resolved.teachers,
                    out=out,
                    cache=cache,
                    base_dir=base,
                    seed=resolved.seed,
                    progress=Silent(),
                )
            rows = read_table(table, records.Verdict)
            return {row.path_id for row in rows if row.check == "filter" and row.outcome == "keep"}

        found = search_styles(
            asked,
            _proposer(resolved, teacher),
            resolved.paths,
            keep=keep,
            folder=folder,
            cache=cache,
            base_dir=base,
            seed=resolved.seed,
            rounds=rounds,
            num_candidates=candidates,
            num_questions=questions,
            progress=progress,
        )
    table = Table("round", "style", "kept", "distance", "score", "$", "result")
    for row in found:
        result = "there before" if not row.round else "accepted" if row.accepted else row.reason
        kept = f"{row.kept}/{row.generated}"
        cells = (row.round, row.name, kept, row.distance, row.score, row.usd, result)
        table.add_row(*(Text(clean(cell)) for cell in cells))
    Console().print(table)
    print(f"every candidate with its instruction: {folder / 'candidates.parquet'}")
    print(f"accepted styles, ready for paths.styles: {folder / 'styles.yaml'}")


def _proposer(config: Config, name: str | None) -> OpenAITeacher | TransformersTeacher:
    able = [teacher for teacher in config.teachers if isinstance(teacher, OpenAITeacher | TransformersTeacher)]
    for teacher in able:
        if name in (None, teacher.name):
            return teacher
    known = ", ".join(teacher.name for teacher in able) or "none"
    raise ConfigError(
        f"a style search needs a teacher of kind openai or transformers; there are: {known}", key="teachers"
    )
