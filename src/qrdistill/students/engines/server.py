"""The engine `openai`: a server that speaks OpenAI's completions writes, and says what it can of its probabilities.

Servers differ in what they take. The richest form of a request that this one does not refuse is found once: token
ids with vLLM's fields, token ids, or the prompt's text where the server's tokenizer reads the same ids from it.
Where it states no log-probabilities, those of what it wrote are the trained student's, measured here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from qrdistill.base.errors import BoundaryError
from qrdistill.llm.client import Refused
from qrdistill.students.config import StudentConfig
from qrdistill.students.decode.decode import Completion, before
from qrdistill.students.engines.config import EngineConfig, ServerEngine
from qrdistill.students.engines.engine import Surroundings
from qrdistill.students.engines.http_client import Server
from qrdistill.students.engines.served import served
from qrdistill.students.engines.tokens_written import encoded, token_log_probabilities
from qrdistill.students.tokens import Codec, Encoded

Fields = dict[str, Any]


def open_server(settings: StudentConfig, config: EngineConfig, around: Surroundings) -> ServerWriter:
    assert isinstance(config, ServerEngine)
    return ServerWriter(settings, config, around)


class ServerWriter:
    """One student at a server, under the name that `served` gave it; the server is left without it at the end."""

    measured_here = False

    def __init__(self, settings: StudentConfig, config: ServerEngine, around: Surroundings) -> None:
        self._around, self._config, self._name = around, config, settings.name
        self._codec = around.student().codec
        self._server = Server(config, who=settings.name)
        self._held = ExitStack()
        try:
            self._model = self._held.enter_context(served(config, around, self._server))
            self._form, self._by_ids = self._find_form()
        except BaseException:
            self._held.close()
            raise

    def close(self) -> None:
        self._held.close()

    def __call__(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int,
        samples: int = 1,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> list[list[Completion]]:
        context = self._codec.max_context or 1 << 40
        limits = [max(0, min(max_tokens, context - len(self._codec.prompt_ids(prompt)))) for prompt in prompts]
        asked = [at for at, limit in enumerate(limits) if limit for _ in range(samples)]
        bodies = [
            self._body(
                prompts[at], max_tokens=limits[at], temperature=temperature, stop=stop, seed=(seed + place) % 2**31
            )
            for place, at in enumerate(asked)
        ]
        replies = self._server.post_all("completions", bodies)
        read = [self._read(prompts[at], reply, stop) for at, reply in zip(asked, replies, strict=True)]
        done = iter(self._measured(read))
        return [[next(done) if limit else Completion("", 0.0, 0, "length") for _ in range(samples)] for limit in limits]

    def log_probabilities(self, paths: Sequence[Encoded]) -> list[list[float]] | None:
        """By `echo`, where the server takes token ids and gives the prompt's log-probabilities back."""
        if not self._by_ids:
            return None
        bodies = [
            self._form("")
            | {"prompt": [*path.prompt_ids, *path.response_ids], "echo": True, "logprobs": 1}
            | {"max_tokens": 1, "temperature": 0.0}
            for path in paths
        ]
        try:
            replies = self._server.post_all("completions", bodies, tentative=True)
        except Refused:
            return None
        found: list[list[float]] = []
        for path, reply in zip(paths, replies, strict=True):
            row = _stated(_choice(reply))[len(path.prompt_ids) :][: len(path.response_ids)]
            if len(row) < len(path.response_ids):
                return None
            found.append(row)
        return found

    def _body(self, prompt: str, **fields: Any) -> Fields:
        stop = {"stop": list(stopped)} if (stopped := fields.pop("stop")) else {}
        sampled = {"top_p": 1.0, "seed": fields.pop("seed")} if fields["temperature"] > 0 else {}
        fields.pop("seed", None)
        return {**self._form(prompt), **fields, **sampled, **stop}

    def _find_form(self) -> tuple[Callable[[str], Fields], bool]:
        """The richest form of request that the server takes, and whether its prompts are token ids."""
        codec, common = self._codec, {"model": self._model, **self._config.extra_body}
        ours = {"return_token_ids": True, "stop_token_ids": sorted(codec.stop_ids)}

        def ids(prompt: str) -> Fields:
            return {"prompt": list(codec.prompt_ids(prompt)), "logprobs": 1, **common}

        def text(prompt: str) -> Fields:
            return {"prompt": _as_text(codec, prompt), "logprobs": 1, **common}

        refusals: list[str] = []
        for form, by_ids in ((lambda prompt: ids(prompt) | ours, True), (ids, True), (text, False)):
            try:
                self._server.post("completions", form("1") | {"max_tokens": 1, "temperature": 0.0}, tentative=by_ids)
            except Refused as error:
                refusals.append(error.reason)
            else:
                return form, by_ids
        raise BoundaryError(
            f"{self._name}: the server at {self._config.base_url} answers no completion for the model {self._model}: "
            f"{refusals[-1]}; compare `model` and `reload` with what it serves"
        )

    def _read(self, prompt: str, reply: Any, stop: Sequence[str]) -> tuple[Completion, Encoded]:
        """A completion, its log-probability not a number where the server does not state it, and what it read."""
        choice = _choice(reply)
        given = choice.get("token_ids")
        ids: list[int] = given if isinstance(given, list) and all(isinstance(one, int) for one in given) else []
        if ids:
            text = self._codec.completion([one for one in ids if one not in self._codec.stop_ids])
        else:
            text = self._codec.completed(str(choice.get("text") or ""))
        finish = "length" if choice.get("finish_reason") == "length" else "stop"
        text = before(text, stop)
        path = encoded(self._codec, prompt, text, ended=finish == "stop")
        stated = _stated(choice)
        usage = reply.get("usage")
        counted = usage.get("completion_tokens") if isinstance(usage, dict) else None
        number = counted if isinstance(counted, int) and counted > 0 else len(ids or path.response_ids)
        logprob = sum(stated) if stated and len(stated) == number else math.nan
        return Completion(text, logprob, number, finish), path

    def _measured(self, read: Sequence[tuple[Completion, Encoded]]) -> list[Completion]:
        """The completions with the student's own log-probabilities where the server states none."""
        unknown = [at for at, (done, _) in enumerate(read) if math.isnan(done.logprob)]
        self.measured_here = bool(unknown)
        found = token_log_probabilities(self._around.student(), [read[at][1] for at in unknown])
        by_place = {at: sum(row) for at, row in zip(unknown, found, strict=True)}
        return [
            Completion(done.text, by_place.get(at, done.logprob), done.tokens, done.finish_reason)
            for at, (done, _) in enumerate(read)
        ]


def _as_text(codec: Codec, prompt: str) -> str:
    """A prompt as a text that the server's tokenizer, with its special tokens, reads as the same ids."""
    text, start = codec.prompt_text(prompt), codec.tokenizer.bos_token or ""
    for way in (text, text.removeprefix(start)):
        if tuple(codec.tokenizer(way)["input_ids"]) == codec.prompt_ids(prompt):
            return way
    raise BoundaryError(
        f"{codec.name}: the server takes no token ids, and this student's prompts cannot be written as a text that it "
        "would read as the same tokens; use vLLM, SGLang or llama.cpp, which take ids, or engine: local"
    )


def _choice(reply: Any) -> dict[str, Any]:
    choices = reply.get("choices") if isinstance(reply, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        raise BoundaryError("the server's reply has no choices; is base_url the address of its OpenAI endpoint?")
    return choice


def _stated(choice: dict[str, Any]) -> list[float]:
    """The log-probabilities of the tokens, as far as the server states them all; nan for a first one without."""
    found = choice.get("logprobs")
    values = found.get("token_logprobs") if isinstance(found, dict) else None
    if not isinstance(values, list):
        return []
    return [float(one) if isinstance(one, int | float) else math.nan for one in values]
