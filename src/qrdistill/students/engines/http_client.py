"""Requests to an engine's server: many at once, each tried again while that can help, within bounds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from qrdistill.base.errors import BoundaryError, DataError
from qrdistill.base.untrusted.clean_text import one_line
from qrdistill.base.untrusted.guarded_json import loads
from qrdistill.base.untrusted.redact import Redactor, secrets_in
from qrdistill.llm.client import Refused
from qrdistill.llm.openai_client import key_in
from qrdistill.students.engines.config import ServerEngine

T = TypeVar("T")
_WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds between two tries
_AGAIN = frozenset({408, 409, 425, 429})  # beside every 5xx
_SHOWN = 300


class Server:
    """`post_all` sends bodies to one path; replies come in their order. Raises Refused for what asking again cannot
    mend, BoundaryError for a server that is not there."""

    def __init__(self, config: ServerEngine, *, who: str) -> None:
        self._config, self._who = config, who
        self._key = key_in(config.api_key_env, "engine.api_key_env")
        self._redact = Redactor(secrets_in(also=[config.api_key_env] if config.api_key_env else []))

    def post(self, path: str, body: dict[str, Any], *, tentative: bool = False) -> Any:
        return self.post_all(path, [body], tentative=tentative)[0]

    def post_all(self, path: str, bodies: Sequence[dict[str, Any]], *, tentative: bool = False) -> list[Any]:
        """path: below base_url; from the server's root where it begins with a slash.

        tentative: a status of 500 is a refusal: llama.cpp's Python server answers so to fields that it does not take.
        """
        return _finished(self._all(path, bodies, tentative))

    async def _all(self, path: str, bodies: Sequence[dict[str, Any]], tentative: bool) -> list[Any]:
        from qrdistill.llm.bounded_http import BoundedClient

        base = self._config.base_url.rstrip("/")
        url = base.removesuffix("/v1") + path if path.startswith("/") else f"{base}/{path}"
        turn = asyncio.Semaphore(self._config.concurrency)
        headers = {"authorization": f"Bearer {self._key}", "accept-encoding": "identity"}
        async with BoundedClient(timeout=self._config.timeout, headers=headers) as client:

            async def one(body: dict[str, Any]) -> Any:
                async with turn:
                    return await self._one(client, url, body, tentative)

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(body)) for body in bodies]
        return [task.result() for task in tasks]

    async def _one(self, client: Any, url: str, body: dict[str, Any], tentative: bool) -> Any:
        import httpx2

        from qrdistill.llm.bounded_http import BrokenOff

        problem = ""
        for wait in (*_WAITS, None):
            try:
                async with asyncio.timeout(self._config.timeout):
                    response = await client.post(url, json=body)
            except (TimeoutError, httpx2.TransportError, BrokenOff) as error:
                problem = self._shown(f"{type(error).__name__} {error}")
            else:
                if response.is_success:
                    return self._read(response.content)
                problem = f"HTTP {response.status_code}: {self._shown(response.content.decode(errors='replace'))}"
                for_good = response.status_code < 500 and response.status_code not in _AGAIN
                if for_good or (tentative and response.status_code == 500):
                    raise Refused(problem, status=response.status_code)
            if wait is not None:
                await asyncio.sleep(wait)
        raise BoundaryError(
            f"{self._who}: the server at {self._config.base_url} does not answer ({problem}); start it, then run the "
            "same command again"
        )

    def _read(self, content: bytes) -> Any:
        try:
            return loads(content, where="the reply", strict=False)
        except DataError:
            return {"text": content.decode(errors="replace")}  # `load_lora_adapter` answers with a sentence

    def _shown(self, text: str) -> str:
        try:
            body = json.loads(text)
            text = str(body.get("detail") or body.get("message") or body.get("error") or text)
        except (ValueError, AttributeError):
            pass
        return one_line(self._redact(text[: 100 * _SHOWN]), _SHOWN)


def _finished(work: Coroutine[Any, Any, T]) -> T:
    """Runs it to its end, beside a loop that may be running already (a notebook's). Raises its first own error."""
    try:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(work)
        with ThreadPoolExecutor(1) as beside:
            return beside.submit(asyncio.run, work).result()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
