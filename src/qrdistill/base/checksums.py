"""Checksums inside the files that we write, looked at before a file is used.

Each format has room for a short text (Parquet: key-value metadata; safetensors: the header's metadata; JSON: a
field; NumPy: what follows the array). `PLACEHOLDER` is written there; `seal` then puts the hash of the whole file
in its place, and `check` compares. One flipped bit anywhere is noticed, and any tool still reads the file.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KEY = "qrdistill-checksum"
_DIGITS = 32
_NONE = b"0" * _DIGITS
PLACEHOLDER = f"{KEY}:{_NONE.decode()}"
_MARK = re.compile(KEY.encode() + rb":(.{%d})" % _DIGITS, re.DOTALL)
_WINDOW = 4 << 20  # bytes at the end, then at the beginning, that are searched for the mark
_BLOCK = 1 << 20
_PART = 64 << 20


class Damaged(Exception):
    """A file whose content is not what was written; the text says which file and how it was noticed."""


def seal(file: Path) -> None:
    """Puts the checksum in the placeholder's place; for a file that nobody else reads yet."""
    place, _ = _find(file)
    assert place is not None, f"{file} holds no placeholder"
    digest = _digest(file, place)
    with file.open("r+b") as handle:
        handle.seek(place)
        handle.write(digest)


def check(file: Path, *, required: bool = False) -> None:
    """Raises Damaged where the content does not match its checksum, or where `required` and there is none.

    A file is read once per process, as long as nothing touches it.
    """
    try:
        status = file.stat()
        fault = _fault(str(file.resolve()), status.st_size, status.st_ctime_ns, status.st_ino)
    except OSError as error:
        raise Damaged(f"{file} cannot be read ({error.strerror or error})") from error
    if fault == "none" and required:
        raise Damaged(f"{file} has lost its checksum")
    if fault == "differs":
        raise Damaged(f"{file} is damaged (its checksum differs)")


@functools.lru_cache(maxsize=1024)
def _fault(name: str, size: int, time: int, inode: int) -> str:
    place, found = _find(Path(name))
    if place is None:
        return "none"
    return "" if _digest(Path(name), place) == found else "differs"


def _find(file: Path) -> tuple[int | None, bytes]:
    """Where the checksum's digits stand, and the digits."""
    with file.open("rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        begin = max(0, size - _WINDOW)
        for start in dict.fromkeys((begin, 0)):
            handle.seek(start)
            marks = list(_MARK.finditer(handle.read(_WINDOW)))
            if marks:
                return start + marks[-1].start(1), marks[-1][1]
    return None, b""


def _digest(file: Path, place: int) -> bytes:
    """The hash of a file in which the digits at `place` are noughts: of its parts' hashes, taken side by side."""
    size = file.stat().st_size
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        parts = pool.map(lambda start: _part(file, start, place), range(0, size, _PART))
        return hashlib.blake2b(b"".join(parts), digest_size=_DIGITS // 2).hexdigest().encode()


def _part(file: Path, start: int, place: int) -> bytes:
    digest, at, end = hashlib.blake2b(), start, start + _PART
    with file.open("rb") as handle:
        handle.seek(start)
        while at < end and (block := handle.read(min(_BLOCK, end - at))):
            if at - _DIGITS < place < at + len(block):
                changed = bytearray(block)
                for index in range(max(place, at), min(place + _DIGITS, at + len(block))):
                    changed[index - at] = _NONE[0]
                block = bytes(changed)
            digest.update(block)
            at += len(block)
    return digest.digest()
