"""A real `transformers serve` on this machine, for as long as a test needs it."""

from __future__ import annotations

import socket
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager

from command import Command


def main(words: list[str]) -> int:
    from transformers.cli.transformers import main as transformers

    sys.argv = ["transformers", *words]
    transformers()
    return 0


@contextmanager
def serving(*arguments: str) -> Generator[str, None, None]:
    """Its address; `arguments` may name the one model that it serves, else each request names its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ("--host", "127.0.0.1", "--port", str(port), "--device", "cpu")
    process = Command("serve", *arguments, *place, main=main, environment={"HF_HUB_OFFLINE": "1"})
    try:
        until_healthy(process, port)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill_group()
        process.said()


def until_healthy(process: Command, port: int) -> None:
    for _ in range(600):
        assert process.poll() is None, process.said()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    process.kill_group()
    raise AssertionError(process.said())
