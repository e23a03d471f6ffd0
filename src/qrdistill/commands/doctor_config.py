"""`qrdistill doctor CONFIG`: the keys, endpoints and students of one config, each tried at no cost."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qrdistill.base.errors import InputError, QRDistillError
from qrdistill.base.untrusted.clean_text import one_line
from qrdistill.commands.doctor import Fact
from qrdistill.commands.plans.dryrun import dry_run
from qrdistill.llm.client import OPENAI_URL
from qrdistill.llm.config import OpenAITeacher
from qrdistill.llm.openai_client import api_key
from qrdistill.runs.load_config import load_config
from qrdistill.students.find_model import comes_with_the_package
from qrdistill.students.preflight import check_students

_SECONDS = 10.0
_MOST_BYTES = 4 << 20  # of a list of models


def examine(config: Path, overrides: Sequence[str] = ()) -> list[Fact]:
    """Facts about one config. Sends one request per endpoint, for its list of models, which costs nothing."""
    return list(_facts(config, overrides))


def _facts(config: Path, overrides: Sequence[str]) -> Iterator[Fact]:
    resolved = load_config(config, overrides)
    yield Fact("config", True, f"{config} can be read; its run is called {resolved.name}")
    for teacher in resolved.teachers:
        if isinstance(teacher, OpenAITeacher):
            yield _endpoint(teacher)
    loads = True
    for student in resolved.students:
        if comes_with_the_package(student.model):
            yield Fact(f"student {student.name}", True, f"{student.model} comes with the package")
            continue
        try:
            [look] = check_students([student], config.resolve().parent)
        except InputError as error:
            yield Fact(f"student {student.name}", False, str(error))
            loads = False
            continue
        size = f"{look.parameters / 1e6:.1f} million parameters, {look.trained / 1e6:.1f} million of them trained"
        yield Fact(f"student {student.name}", True, f"{student.model}: config and tokenizer load; {size}")
    if loads:
        yield from _outlook(config, overrides)


def _outlook(config: Path, overrides: Sequence[str]) -> Iterator[Fact]:
    """What `--dry-run` says of the training."""
    try:
        plan = dry_run(config, None, overrides)
    except QRDistillError as error:
        yield Fact("plan", False, str(error))
        return
    yield from (Fact("plan", True, line) for line in plan.takes.lines())
    yield from (Fact("plan", False, problem) for problem in plan.problems)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A key goes to the address that the config names, and nowhere else."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _endpoint(teacher: OpenAITeacher) -> Fact:
    name = f"teacher {teacher.name}"
    url = (teacher.base_url or OPENAI_URL).rstrip("/")
    try:
        key = api_key(teacher)
    except InputError as error:
        return Fact(name, False, str(error))
    request = urllib.request.Request(f"{url}/models", headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.build_opener(_NoRedirects()).open(request, timeout=_SECONDS) as reply:
            models = _names(reply.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            where = f"the key in {teacher.api_key_env}" if teacher.api_key_env else "a request without a key"
            return Fact(name, False, f"{url} refuses {where} ({error.code})")
        known = error.code in (404, 405)
        detail = f"{url} answers, and has no list of models ({error.code})" if known else f"{url} answers {error.code}"
        return Fact(name, known, detail)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Fact(name, False, f"{url} cannot be reached: {one_line(str(reason), 120)}; is its server running?")
    if models is None:
        return Fact(name, True, f"{url} answers; what it says of its models cannot be read")
    if teacher.model in models or f"models/{teacher.model}" in models:
        return Fact(name, True, f"{url} answers and has the model {teacher.model}")
    shown = one_line(", ".join(models[:6]), 200) or "none"
    return Fact(name, False, f"{url} does not list the model {teacher.model}; it lists {len(models)}: {shown}")


def _names(body: bytes) -> list[str] | None:
    try:
        rows: Any = json.loads(body)["data"]
        return [str(row["id"]) for row in rows]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
