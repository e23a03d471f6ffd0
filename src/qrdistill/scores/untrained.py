"""The untrained students answer what the trained ones were scored on: the same prompts, limits and comparer.

A greedy completion of weights that nobody has trained is the same in every run: it lies in the reply cache under the
model's content, the prompt and the limits, so that the arms of a demo and the seeds of a study pay for it once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qrdistill import __version__
from qrdistill.base.progress import Progress
from qrdistill.base.records import FREE, Answer, Question
from qrdistill.base.store import TableWriter
from qrdistill.llm.reply_cache import ChatRequest, Reply, ReplyCache
from qrdistill.paths.styles import Style, student_prompt
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.evaluate import model_contents, to_answers
from qrdistill.scores.student_style import style_choices
from qrdistill.students.config import StudentConfig
from qrdistill.students.engines.config import EngineConfig, ServerEngine
from qrdistill.students.engines.engine import Engine, Surroundings

if TYPE_CHECKING:
    from qrdistill.students.decode.decode import Completion

_CHUNK = 4  # batches that are claimed, decoded and committed at once
_PAUSE = 0.2  # seconds between two looks at what another process is decoding


def answer_untrained(
    students: Sequence[StudentConfig],
    trained: Iterable[Answer],
    questions: Mapping[str, Question],
    config: EvaluateConfig,
    *,
    styles: Mapping[str, Style],
    held: Mapping[str, str] = {},
    out: TableWriter,
    cache: ReplyCache,
    base_dir: Path,
    device: str = "auto",
    progress: Progress,
) -> int:
    """Writes each untrained student's greedy answer to every prompt that its trained self is scored on; how many.

    Scored are the best style on dev (all that were asked, where `config.styles` names them), and free. `trained`: the
    answers of the trained students, under the same names.
    """
    rows = list(trained)
    choices = style_choices(rows, questions, held)
    progress.start("untrained", len(students))
    for student in students:
        own = [row for row in rows if (row.student, row.split, row.sample) == (student.name, config.split, 0)]
        best = choices.get(student.name)
        wanted = {best.style, FREE} if best and config.styles == "best_on_dev" else {row.style for row in own}
        asked = [(questions[row.question_id], row.style) for row in own if row.style in wanted]
        prompts = [student_prompt(question.question, styles.get(style)) for question, style in asked]
        with _engine(student, config, base_dir, device, progress) as write:
            completions = _complete(prompts, _requests(student, config, base_dir), write, config, cache)
        answered = [
            (question, style, 0, completions[prompt]) for (question, style), prompt in zip(asked, prompts, strict=True)
        ]
        for row in to_answers(student.name, answered, training="untrained"):
            out.write(row)
        progress.advance(student=student.name)
    progress.done(answers=out.count)
    return out.count


def _engine(student: StudentConfig, config: EvaluateConfig, base_dir: Path, device: str, progress: Progress) -> Engine:
    """The student as its weights came: without adapters, in the precision that its trained self is measured in.

    A server that is never given weights has the trained student alone, so our own decoder stands in for it.
    """
    plain = StudentConfig(
        name=student.name,
        model=student.model,
        quantize=student.quantize,
        frozen=student.quantize is not None,
        dtype=student.dtype,
        trust_remote_code=student.trust_remote_code,
        max_context=student.max_context,
    )
    fixed = isinstance(config.engine, ServerEngine) and config.engine.reload == "none"
    engine = EngineConfig() if fixed else config.engine
    return Engine(engine, Surroundings(plain, base_dir, device, 0, progress, config.batch_size))


def _requests(student: StudentConfig, config: EvaluateConfig, base_dir: Path) -> Callable[[str], ChatRequest]:
    """A prompt as a request whose key holds all that shapes the completion."""
    source, contents = model_contents(student.model, base_dir)
    extra = json.dumps(
        {
            "contents": contents or source,
            "quantize": student.quantize,
            "dtype": student.dtype,
            "max_context": student.max_context,
            "engine": config.engine.shaping(),
            "stop": config.stop,
            "version": __version__,
        },
        sort_keys=True,
    )
    return lambda prompt: ChatRequest(
        host="this machine",
        model=f"untrained {student.model}",
        messages=(("user", prompt),),
        temperature=0.0,
        max_tokens=config.limit,
        extra=extra,
    )


def _complete(
    prompts: Sequence[str],
    request_of: Callable[[str], ChatRequest],
    write: Engine,
    config: EvaluateConfig,
    cache: ReplyCache,
) -> dict[str, Completion]:
    """Prompt -> completion, from the cache where it is there; what another process is writing is waited for."""
    requests = {prompt: request_of(prompt) for prompt in prompts}
    missing = _missing(cache, list(requests.values()))
    while missing:
        worked = False
        for start in range(0, len(missing), _CHUNK * config.batch_size):
            chunk = missing[start : start + _CHUNK * config.batch_size]
            mine = cache.claim([request.key for request in chunk])
            todo = [request for request in chunk if request.key in mine]
            if todo:
                texts = [request.messages[0][1] for request in todo]
                written = [row[0] for row in write(texts, max_tokens=config.limit, stop=config.stop)]
                cache.settle((request, _reply(done)) for request, done in zip(todo, written, strict=True))
                worked = True
        missing = _missing(cache, missing)
        if missing and not worked:
            time.sleep(_PAUSE)
    replies = cache.get_many([request.key for request in requests.values()])
    return {prompt: _completion(replies[request.key], cache, request) for prompt, request in requests.items()}


def _missing(cache: ReplyCache, requests: Sequence[ChatRequest]) -> list[ChatRequest]:
    there = cache.get_many([request.key for request in requests])
    return [request for request in requests if request.key not in there]


def _reply(done: Completion) -> Reply:
    return Reply(
        text=done.text,
        finish_reason=done.finish_reason,
        completion_tokens=done.tokens,
        response=json.dumps({"logprob": done.logprob}),
    )


def _completion(reply: Reply, cache: ReplyCache, request: ChatRequest) -> Completion:
    from qrdistill.students.decode.decode import Completion

    body = json.loads(cache.response(request.key) or "{}")
    reason = "length" if reply.finish_reason == "length" else "stop"
    return Completion(reply.text, float(body.get("logprob", 0.0)), reply.completion_tokens, reason)
