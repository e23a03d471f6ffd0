"""HTTP replies within bounds, whatever a server sends: the client that the openai SDK sends through.

The SDK and httpx read bodies whole, and undo compression without a limit (a megabyte of gzip is a gigabyte of
zeros) in codecs and character sets of the server's choice. Here a body is read up to a number of bytes after
decompression, gzip and deflate only, and handed on with nothing but the headers that are looked at. Redirects
are not followed: they would take the key along. How long it may take is the caller's (`asyncio.timeout`).
"""

from __future__ import annotations

import zlib
from typing import Any

import httpx2
from openai import DefaultAsyncHttpxClient

MAX_REPLY = 8 << 20  # bytes of a reply after decompression: a thousand times a usual one
_MAX_ERROR = 64 << 10  # bytes of an error's body; the rest is left unread
_HEADERS = ("retry-after", "retry-after-ms", "location")
_AUTOMATIC = 47  # zlib's window: gzip or deflate, as the first bytes tell


class BrokenOff(Exception):
    """A reply began and could not be read to its end: it was generated, and is charged for."""


class BoundedClient(DefaultAsyncHttpxClient):
    """An `httpx2.AsyncClient` whose `send` raises BrokenOff beyond the bounds."""

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        options["follow_redirects"] = False
        response = await super().send(request, stream=True, **options)
        try:
            content = await _read(response)
        finally:
            await response.aclose()
        headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
        return httpx2.Response(response.status_code, headers=headers, content=content, request=request)


class FileClient(BoundedClient):
    """The same; but a body that is asked for as a stream is handed on as one, and its reader counts the bytes."""

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        if not stream:
            return await super().send(request, **options)
        options["follow_redirects"] = False
        response = await DefaultAsyncHttpxClient.send(self, request, stream=True, **options)
        if response.is_success and response.headers.get("content-encoding", "identity") == "identity":
            return response
        try:
            content = await _read(response)
        finally:
            await response.aclose()
        return httpx2.Response(response.status_code, content=content, request=request)


async def _read(response: httpx2.Response) -> bytes:
    fine = response.is_success
    content, read = bytearray(), 0
    try:
        encodings = [name.strip().lower() for name in response.headers.get("content-encoding", "").split(",")]
        encodings = [name for name in encodings if name not in ("", "identity")]
        if encodings not in ([], ["gzip"], ["x-gzip"], ["deflate"]):
            raise BrokenOff("its compression was not asked for")
        unzip = zlib.decompressobj(_AUTOMATIC) if encodings else None
        most = MAX_REPLY if fine else _MAX_ERROR
        async for chunk in response.aiter_raw():
            read += len(chunk)
            content += unzip.decompress(chunk, most + 1 - len(content)) if unzip else chunk
            if max(read, len(content)) > most:
                if not fine:
                    break
                raise BrokenOff(f"it is longer than {MAX_REPLY >> 20} MiB")
        if fine and unzip and not unzip.eof:
            raise BrokenOff("its compressed body has no end")
    except (BrokenOff, zlib.error, httpx2.TransportError) as error:
        if fine:
            reason = str(error) if isinstance(error, BrokenOff) else f"{type(error).__name__}: {error}"
            raise BrokenOff(reason) from None
    return bytes(content[: MAX_REPLY if fine else _MAX_ERROR])
