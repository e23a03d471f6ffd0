"""`qrdistill cache`: what the reply cache holds."""

from __future__ import annotations

import json
from pathlib import Path

from qrdistill.base.errors import InputError
from qrdistill.commands.show import clean
from qrdistill.commands.tables import print_table
from qrdistill.llm.reply_cache import ReplyCache


def _open(file: Path) -> ReplyCache:
    if not file.is_file():
        raise InputError(f"no reply cache at {file}; it lies beside the run directories, as replies.sqlite")
    return ReplyCache(file)


def stats(file: Path, *, as_json: bool = False) -> None:
    with _open(file) as cache:
        facts = cache.stats()
    if as_json:
        print(json.dumps(facts))
        return
    columns = {
        "host": "host",
        "model": "model",
        "replies": "replies",
        "truncated": "cut",
        "prompt_tokens": "tokens in",
        "completion_tokens": "tokens out",
        "usd": "$",
    }
    title = f"{file}: {facts['replies']} replies, ${facts['usd']:.2f}, {facts['bytes'] / 2**20:.1f} MiB"
    rows = [[clean(row[column]) for column in columns] for row in facts["models"]]
    print_table(list(columns.values()), rows, title)


def export(file: Path, to: Path) -> None:
    if to.exists() or to.is_symlink():
        raise InputError(f"{to} exists; choose another name, or remove it first")
    with _open(file) as cache:
        print(f"{cache.export(to)} replies written to {to}")


def prune(file: Path, *, model: str | None, older_than: float | None, truncated: bool, batches: bool = False) -> None:
    if batches:
        with _open(file) as cache:
            print(f"{cache.give_up_batches()} open batches given up; what they would have brought is asked again")
        return
    if model is None and older_than is None and not truncated:
        raise InputError(
            "say what to delete: --model, --older-than, --truncated or --batches; what is deleted must be paid for again"
        )
    with _open(file) as cache:
        print(
            f"{cache.prune(model=model, older_than_days=older_than, truncated=truncated)} replies deleted from {file}"
        )
