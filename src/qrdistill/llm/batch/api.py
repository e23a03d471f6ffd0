"""OpenAI's files and batches over HTTP, through the openai SDK, within the same bounds as single replies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import IO, Any

from qrdistill.base.errors import DataError, InputError, TeacherError
from qrdistill.base.untrusted.guarded_json import loads
from qrdistill.llm.client import OPENAI_URL, Refused, Transient
from qrdistill.llm.config import OpenAITeacher
from qrdistill.llm.openai_client import ReplyReader, api_key
from qrdistill.llm.reply_cache import Reply

TOKEN, HASH = "qrdistill", "sha256"  # the names of a batch's metadata
_TRANSFER = 600.0  # seconds that a file may take
_MOST = 2 << 30  # bytes of an output file
_PAGE, _PAGES = 100, 100  # batches a page, pages
_DAY = 86400.0  # seconds by which the server's clock may differ from ours
_ABSENT = frozenset({404, 405, 501})


class BatchApi:
    """Raises Transient or Refused, and TeacherError where the server has no batches at all."""

    def __init__(self, config: OpenAITeacher, reader: ReplyReader) -> None:
        try:
            import httpx2
            from openai import AsyncOpenAI

            from qrdistill.llm.bounded_http import FileClient
        except ImportError as error:
            raise InputError("teachers of kind openai need the SDK: pip install 'qrdistill[api]'") from error
        self._config, self._reader, self._raw = config, reader, httpx2.Response
        self._client = AsyncOpenAI(
            api_key=api_key(config),
            base_url=config.base_url or OPENAI_URL,
            max_retries=0,
            default_headers={"accept-encoding": "identity"},
            timeout=_TRANSFER,
            http_client=FileClient(timeout=_TRANSFER),
        )

    async def close(self) -> None:
        await self._client.close()

    async def upload(self, name: str, content: bytes) -> str:
        """The id of the uploaded file."""
        body = {"purpose": "batch"}
        files = [("file", (name, content, "application/jsonl"))]
        options: Any = {"headers": {"content-type": "multipart/form-data"}}
        send = self._client.post("/files", cast_to=self._raw, body=body, files=files, options=options)
        return self._id(await self._json("files", send, _TRANSFER))

    async def create(self, file_id: str, metadata: Mapping[str, str]) -> dict[str, Any]:
        body = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": metadata,
        }
        made = await self._json("batches", self._client.post("/batches", cast_to=self._raw, body=body))
        self._id(made)
        return made

    async def find(self, token: str, file_id: str | None, since: float) -> dict[str, Any] | None:
        """The batch that was made with this token or of this file, if the server has it; `since`: Unix seconds."""
        after: str | None = None
        for _ in range(_PAGES):
            options: Any = {"params": {"limit": _PAGE, **({"after": after} if after else {})}}
            page = await self._json("batches", self._client.get("/batches", cast_to=self._raw, options=options))
            batches = [
                one for one in page.get("data") or [] if isinstance(one, dict) and isinstance(one.get("id"), str)
            ]
            for one in batches:
                named = (one.get("metadata") or {}).get(TOKEN) if isinstance(one.get("metadata"), dict) else None
                if named == token or (named is None and file_id and one.get("input_file_id") == file_id):
                    return one
            times = [made for one in batches if isinstance(made := one.get("created_at"), int | float)]
            if not batches or not page.get("has_more") or (times and min(times) < since - _DAY):
                return None
            after = batches[-1]["id"]
        return None

    async def retrieve(self, batch_id: str) -> dict[str, Any]:
        return await self._json("", self._client.get(f"/batches/{batch_id}", cast_to=self._raw))

    async def download(self, file_id: str, to: IO[bytes]) -> None:
        """Writes a file's bytes to `to`, within bounds."""
        import openai

        failure: Exception
        try:
            async with (
                asyncio.timeout(_TRANSFER),
                self._client.files.with_streaming_response.content(file_id) as response,
            ):
                size = 0
                async for chunk in response.iter_bytes():
                    size += len(chunk)
                    if size > _MOST:
                        raise Transient(f"a batch's file is longer than {_MOST >> 30} GiB")
                    to.write(chunk)
                return
        except openai.APIStatusError as error:
            failure = self._failure(error)
        except TimeoutError:
            failure = Transient(f"no file within {_TRANSFER:g} s")
        except (openai.APIConnectionError, OSError) as error:
            failure = Transient(self._reader.shown(f"connection failed ({type(error.__cause__ or error).__name__})"))
        raise failure

    async def _json(self, part: str, sending: Awaitable[Any], seconds: float | None = None) -> dict[str, Any]:
        """The body of an answer; `part` is the part of the API that has to be there."""
        import openai

        from qrdistill.llm.bounded_http import BrokenOff

        failure: Exception
        try:
            async with asyncio.timeout(seconds or self._config.timeout):
                response = await sending
        except openai.APIStatusError as error:
            failure = self._failure(error)
            if part and error.status_code in _ABSENT:
                failure = TeacherError(
                    f"teacher {self._config.name!r}: {self._config.base_url or OPENAI_URL} has no batch API "
                    f"(HTTP {error.status_code} at /{part}); leave `batch` out, or ask a server that has one"
                )
        except TimeoutError:
            failure = Transient("no answer in time")
        except BrokenOff as broken:
            failure = Transient(self._reader.shown(f"the answer broke off: {broken}"))
        except openai.APIConnectionError as error:
            name = type(error.__cause__).__name__
            failure = Transient(self._reader.shown(f"connection failed ({name}: {error.__cause__})"), unreachable=True)
        else:
            try:
                body = loads(response.content, where="the answer", strict=False)
            except DataError as error:
                failure = Transient(self._reader.shown(f"not what a batch API says ({error.message[:80]})"))
            else:
                if isinstance(body, dict):
                    return body
                failure = Transient("not what a batch API says")
        raise failure  # outside the handlers: the SDK's exceptions hold the request's headers

    def _failure(self, error: Any) -> Exception:
        """What an HTTP status means."""
        said = self._reader.error(error.status_code, error.response.content, error.response.headers)
        return Refused(said.text) if isinstance(said, Reply) else said

    def _id(self, body: dict[str, Any]) -> str:
        found = body.get("id")
        if not isinstance(found, str) or not found:
            raise Transient("not what a batch API says: it has no id")
        return found


def counts_of(found: Mapping[str, Any]) -> tuple[int, int]:
    """(completed, failed) as the server says."""
    counts = found.get("request_counts")
    read = counts if isinstance(counts, dict) else {}
    completed, failed = (read.get(name) for name in ("completed", "failed"))
    return (completed if isinstance(completed, int) else 0), (failed if isinstance(failed, int) else 0)


def problem_of(found: Mapping[str, Any]) -> str:
    """Why a batch was refused as a whole."""
    errors = found.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else None
    first = data[0] if isinstance(data, list) and data else {}
    said = first if isinstance(first, dict) else {}
    return f"failed: {said.get('code') or ''} {said.get('message') or 'no reason given'}".replace("  ", " ")
