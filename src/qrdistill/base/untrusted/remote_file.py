"""Files that lie elsewhere: s3://, gs://, az://, hf://, memory://, file:// and whatever else fsspec knows.

A file is copied once per process, and then read like any other; what its store says of its version stands for it in a
stage's key.
"""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from qrdistill.base.errors import BoundaryError, DataError, InputError

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)


def is_url(name: str) -> bool:
    """
    >>> is_url("s3://bucket/q.jsonl"), is_url("/data/q.jsonl")
    (True, False)
    """
    return _URL.fullmatch(name) is not None


@functools.lru_cache(maxsize=256)
def fetched(url: str) -> Path:
    """A copy of the file, or of a folder's Parquet shards, that lives as long as this process.

    Raises InputError for a scheme that cannot be read, DataError where nothing is there, BoundaryError where the store
    refuses.
    """
    system, place = _opened(url)
    name = PurePosixPath(place).name
    target = Path(_folder().name) / f"{len(list(Path(_folder().name).iterdir()))}" / name
    target.parent.mkdir()
    try:
        if system.isdir(place):
            parts: list[str] = sorted(system.glob(f"{place.rstrip('/')}/*.parquet"))
            target.mkdir()
            for part in parts:
                _copy(system, part, target / PurePosixPath(part).name)
        else:
            _copy(system, place, target)
    except FileNotFoundError as error:
        raise DataError("no such file; check the address", file=url) from error
    except Exception as error:  # every store has its own
        raise _refused(url, error) from error
    return target


def version_of(url: str) -> str:
    """What the store says of a file's content: its checksum or version, or its size and time."""
    system, place = _opened(url)
    try:
        return str(system.ukey(place))
    except FileNotFoundError as error:
        raise DataError("no such file; check the address", file=url) from error
    except Exception as error:
        raise _refused(url, error) from error


def _opened(url: str) -> tuple[Any, str]:
    import fsspec
    from fsspec.core import url_to_fs

    found = _URL.fullmatch(url)
    assert found is not None
    scheme, rest = found.groups()
    if "::" in url or "@" in rest.partition("/")[0]:
        raise InputError(
            f"{scheme}://...: an address with credentials or with several steps (::) is not taken; keys belong in the "
            "environment, as the store's own tools read them"
        )
    try:
        fsspec.get_filesystem_class(scheme)
        return url_to_fs(url)
    except ImportError as error:
        raise InputError(
            f"{url}: reading {scheme}:// needs another package ({_first_line(error)}): pip install 'qrdistill[remote]'"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{url}: {_first_line(error)}; use s3, gs, az, hf, file or memory, or copy the file"
        ) from error
    except Exception as error:
        raise _refused(url, error) from error


def _copy(system: Any, source: str, target: Path) -> None:
    with system.open(source, "rb") as there, target.open("wb") as here:
        shutil.copyfileobj(there, here, 1 << 20)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="qrdistill-")


def _refused(url: str, error: Exception) -> BoundaryError:
    return BoundaryError(
        f"cannot read {url} ({type(error).__name__}: {_first_line(error)}); check the address, the network and the "
        "store's keys in the environment, then run the same command again"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
