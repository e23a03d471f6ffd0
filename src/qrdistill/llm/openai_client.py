"""Chat client `openai`: any OpenAI-compatible endpoint, over real HTTP through the openai SDK.

The SDK carries the requests (connections, TLS, proxies, error classes); its own retries are switched
off, because only `llm.ask` sees the whole run. Bodies are read here, within bounds (`bounded_http`,
`guarded_json`) and leniently: servers differ, and the cache keeps the body as it came. Keys come from the
environment only, and every text that came from outside is redacted before it goes anywhere, also where
a server echoes the key.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from qrdistill.base.errors import ConfigError, DataError, InputError
from qrdistill.base.untrusted.clean_text import one_line
from qrdistill.base.untrusted.guarded_json import loads
from qrdistill.base.untrusted.redact import Redactor, redact, secrets_in
from qrdistill.llm.client import OPENAI_URL, Mended, Refused, Transient, estimate_tokens, prompt_estimate
from qrdistill.llm.config import OpenAITeacher
from qrdistill.llm.finish_reasons import ending, recorded
from qrdistill.llm.reply_body import counts, said
from qrdistill.llm.reply_cache import ChatRequest, Reply
from qrdistill.llm.server_advice import daily, mend, mended, wait

_RETRY = frozenset({408, 409, 425, 429})  # beside every 5xx
_NO_CREDIT = ("insufficient_quota", "insufficient_balance", "billing_hard_limit_reached")
_BLOCKED = frozenset(  # of the question: OpenAI and Azure, z.ai, DashScope
    {"content_filter", "content_policy_violation", "responsibleaipolicyviolation", "1301", "data_inspection_failed"}
)
_NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError")
_SHOWN = 300  # characters of a server's message that are kept
_LONGEST_RETRY_AFTER = 1e7  # seconds; about four months stand for whatever a server says beyond
_MENDS: dict[tuple[str, str], dict[str, str | None]] = {}  # (base_url, model) -> fields it does not take
_HEALTH_TIMEOUT = 10.0  # seconds
_SMALL = 32 << 10  # bytes; larger bodies are read in a thread, so that the other requests go on


class OpenAIChat:
    """`complete` sends one request; raises Transient or Refused, never anything of the SDK's."""

    def __init__(self, config: OpenAITeacher, *, base_dir: Path = Path()) -> None:
        try:
            import httpx2
            from openai import AsyncOpenAI

            from qrdistill.llm.bounded_http import BoundedClient
        except ImportError as error:
            raise InputError("teachers of kind openai need the SDK: pip install 'qrdistill[api]'") from error
        self._config = config
        self._read = ReplyReader(config)
        self._raw = httpx2.Response
        self._mends = mends_of(config)
        self._client = AsyncOpenAI(
            api_key=api_key(config),
            base_url=config.base_url or OPENAI_URL,  # given, so that OPENAI_BASE_URL cannot change it
            timeout=config.timeout,
            max_retries=0,
            default_headers={"accept-encoding": "identity"},
            http_client=BoundedClient(timeout=config.timeout),
        )

    async def close(self) -> None:
        await self._client.close()

    async def alive(self) -> bool:
        """Whether the server answers at all, with whatever list of models."""
        import openai

        from qrdistill.llm.bounded_http import BrokenOff

        try:
            async with asyncio.timeout(min(_HEALTH_TIMEOUT, self._config.timeout)):
                await self._client.get("/models", cast_to=self._raw)
        except openai.APIStatusError as error:
            return error.status_code < 500
        except (TimeoutError, BrokenOff, openai.APIConnectionError):
            return False
        return True

    async def complete(self, request: ChatRequest) -> Reply:
        import openai

        from qrdistill.llm.bounded_http import BrokenOff

        begun, body = time.monotonic(), mended(request.body(), self._mends)
        try:
            # the SDK's time limit is per read: a server that drips would hold a request for ever
            async with asyncio.timeout(self._config.timeout):
                response = await self._client.post("/chat/completions", cast_to=self._raw, body=body)
        except openai.APIStatusError as error:
            status, headers, content = error.status_code, error.response.headers, error.response.content
            failure = self._mend(status, content, body) or self._read.error(status, content, headers)
        except TimeoutError:
            failure = Transient(f"no reply within {self._config.timeout:g} s", wasted=self._read.most(request))
        except BrokenOff as broken:
            failure = Transient(self._read.shown(f"the reply broke off: {broken}"), wasted=self._read.most(request))
        except openai.APIConnectionError as error:  # with the SDK's own time limit among them
            name = type(error.__cause__).__name__
            failure = Transient(
                self._read.shown(f"connection failed ({name}: {error.__cause__})"),
                unreachable=name in ("ConnectError", "ConnectTimeout"),
                # once the request is out, nobody tells whether it was answered and charged
                wasted=None if name in _NOT_SENT else self._read.most(request),
            )
        else:
            content, seconds = response.content, time.monotonic() - begun
            if len(content) < _SMALL:
                reply = self._read.reply(request, content, seconds)
            else:
                reply = await asyncio.to_thread(self._read.reply, request, content, seconds)
            return replace(reply, sent=json.dumps(body)) if self._mends else reply
        if isinstance(failure, Reply):
            return failure
        raise failure  # outside the handler: the SDK's exception holds the request's headers

    def _mend(self, status: int, content: bytes, sent: dict[str, Any]) -> Mended | None:
        """Where the server names a field that it does not take: remembered for all requests to this model."""
        advice = mend(sent, _error_body(content)) if status in (400, 422) else None
        if advice is None:
            return None
        field, other = advice
        if field in self._mends:
            return Mended()  # a request that was under way when another one found it out
        self._mends[field] = other
        instead = f"{other} is sent instead" if other else "it is left out, whatever the config says"
        return Mended(f"teacher {self._config.name!r}: {self._config.model} does not take {field}: {instead}")


class ReplyReader:
    """What a server's bytes mean: a reply, or a Transient or Refused that says why there is none.

    Its exceptions' reasons are short, on one line, and hold no key. Each says what the attempt cost: as the
    server counted; by an estimate where a reply came without a count; and as much as it can have been
    where a reply came that cannot be read.
    """

    def __init__(self, config: OpenAITeacher) -> None:
        self._config = config
        self._secrets = Redactor(secrets_in(also=[config.api_key_env] if config.api_key_env else []))

    def shown(self, text: str) -> str:
        """A text of the server's as a message may quote it: cut only after the secrets are out of it."""
        return one_line(self._redact(text[: 100 * _SHOWN]), _SHOWN)

    def most(self, request: ChatRequest) -> Reply:
        """What a reply costs at most, of which nothing is known but that it was generated."""
        return self._priced(prompt_estimate(request), request.limit)

    def error(self, status: int, content: bytes, headers: Any) -> Transient | Refused | Reply:
        """Of a status other than 2xx; a Reply where the question itself was blocked, which asking again never mends."""
        body = _error_body(content)
        message, code = _error_message(body)
        if 300 <= status < 400:
            message = f"it moved to {headers.get('location', 'another address')}; give that as base_url"
        reason = f"HTTP {status}: {self.shown(message)}"
        wasted = self._counted(body, lambda: 0, lambda: 0)
        if 400 <= status < 500 and _blocks(body, code):
            return replace(wasted, text=self.shown(message), finish_reason="content_filter")
        if status == 402 or code in _NO_CREDIT:
            return Refused(reason, status=status, everything=True, wasted=wasted)
        if status in _RETRY or status >= 500:
            said = _retry_after(headers)
            asked = wait(body) if said is None else said
            return Transient(
                reason, status=status, retry_after=asked, daily=status == 429 and daily(body), wasted=wasted
            )
        return Refused(reason, status=status, wasted=wasted)

    def reply(self, request: ChatRequest, content: bytes, latency: float) -> Reply:
        """Of a status 2xx. Raises Transient, Refused."""
        try:
            body = loads(content, where="the reply", strict=False)
        except DataError as error:
            begin = content[: 10 * _SHOWN].decode(errors="replace")
            reason = self.shown(f"not a chat completion ({error.message[:80]}): {begin!r}")
            raise Transient(reason, wasted=self.most(request)) from None
        if not isinstance(body, dict) or "choices" not in body:
            wasted = self._counted(body, lambda: 0, lambda: 0)
            if isinstance(body, dict | list) and _error_message(body)[1]:
                raise self._failure(body, wasted)
            raise Transient(self.shown(f"not a chat completion: {_error_message(body)[0]!r}"), wasted=wasted)
        read = said(body)
        text = read.text if read.text.strip() else ""
        priced = self._counted(
            body, lambda: prompt_estimate(request), lambda: estimate_tokens(text) + estimate_tokens(read.thought)
        )
        if read.error is not None:
            raise self._failure({"error": read.error}, priced)
        if read.problem:
            raise Transient(read.problem, wasted=priced)
        finish = recorded(self._redact(read.finish) if isinstance(read.finish, str) else read.finish)
        meaning = ending(finish)
        if meaning == "transient":
            raise Transient(f"the reply broke off ({finish})", wasted=priced)
        if read.refusal and meaning != "refused":
            meaning, finish = "refused", "refusal"
        if not (text or read.thought.strip() or read.hidden or meaning in ("refused", "cut")):
            raise Transient("the reply is empty", wasted=priced)
        return replace(
            priced,
            text=self._redact(text or read.refusal),
            thought=self._redact(read.thought),
            finish_reason=finish,
            latency=latency,
            # dumped anew: a body may spell a key with JSON escapes, which no search would find
            response=self._redact(json.dumps(body, ensure_ascii=False)),
        )

    def _failure(self, body: Any, wasted: Reply) -> Transient | Refused:
        """What an error means that came with a status of 200: its own code decides, where it has one."""
        message, code = _error_message(body)
        status = int(code) if code.isascii() and code.isdigit() and len(code) == 3 else None
        reason = self.shown(f"an error in place of a reply: {message}" + (f" (code {code})" if code else ""))
        if code in _NO_CREDIT or status == 402:
            return Refused(reason, status=status, everything=True, wasted=wasted)
        if status is not None and 400 <= status < 500 and status not in _RETRY:
            return Refused(reason, status=status, wasted=wasted)
        return Transient(reason, status=status, wasted=wasted)

    def _counted(self, body: Any, prompt: Callable[[], int], completion: Callable[[], int]) -> Reply:
        """The server's own counts, priced; `prompt` and `completion` where it gives none that make sense."""
        asked, written = counts(body.get("usage") if isinstance(body, dict) else None)
        return self._priced(prompt() if asked is None else asked, completion() if written is None else written)

    def _priced(self, prompt: int, completion: int) -> Reply:
        price = self._config.price
        cost = (prompt * price.input + completion * price.output) / 1e6
        return Reply("", prompt_tokens=prompt, completion_tokens=completion, cost=cost)

    def _redact(self, text: str) -> str:
        """What came from outside, without secrets, and without half characters that no file could hold."""
        return self._secrets(text.encode(errors="replace").decode())


def mends_of(config: OpenAITeacher) -> dict[str, str | None]:
    """The fields that this model does not take, as far as is known: field -> its other name, or None."""
    return _MENDS.setdefault((config.base_url or OPENAI_URL, config.model), {})


def api_key(config: OpenAITeacher) -> str:
    """The key from the environment; a keyless endpoint (`base_url` without `api_key_env`) gets a dummy."""
    place = f"teachers.{config.name}.api_key_env"
    if config.api_key_env is None and config.base_url is None:
        raise ConfigError(
            "api.openai.com needs a key; set api_key_env to the NAME of the environment variable that "
            "holds it (OPENAI_API_KEY), or base_url for another endpoint",
            key=place,
        )
    return key_in(config.api_key_env, place)


def key_in(variable: str | None, place: str) -> str:
    """The key in an environment variable; a dummy where none is named. Raises ConfigError at `place`."""
    if variable is None:
        return "none"
    key, shown = os.environ.get(variable, "").strip(), redact(variable)
    if not key:
        raise ConfigError(
            f"the environment variable {shown} is not set; export {shown}=... before you run this", key=place
        )
    if not key.isascii() or any(character.isspace() or not character.isprintable() for character in key):
        # said without showing it: the HTTP library's own complaint would quote the key
        raise ConfigError(f"the value of {shown} holds a blank or a character that no key has; set it anew", key=place)
    return key


def _error_body(content: bytes) -> Any:
    try:
        return loads(content, where="the error's body", strict=False)
    except DataError:
        return content.decode(errors="replace")


def _error_message(body: Any) -> tuple[str, str]:
    """(message, code) of an error body, whatever shape the server gave it."""
    if isinstance(body, list) and body:  # Gemini's compatible endpoint wraps errors in a list
        body = body[0]
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or json.dumps(error)
        return str(message), str(error.get("code") or error.get("type") or "")
    return (str(error) if error else "") or "empty body", ""


def _blocks(body: Any, code: str) -> bool:
    """Whether an error says that a content filter has blocked the question."""
    error = body.get("error") if isinstance(body, dict) else None
    about = error.get("metadata") if isinstance(error, dict) else None
    return code.casefold() in _BLOCKED or (isinstance(about, dict) and "flagged_input" in about)


def _retry_after(headers: Any) -> float | None:
    """Seconds, from `retry-after-ms`, or `retry-after` as a number or a date."""
    try:
        if headers.get("retry-after-ms"):
            seconds = float(headers["retry-after-ms"]) / 1000
        elif not (value := headers.get("retry-after")):
            return None
        else:
            try:
                seconds = float(value)
            except ValueError:
                seconds = parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER)
