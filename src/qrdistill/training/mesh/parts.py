"""Tensors that several processes hold, on disk by torch.distributed.checkpoint: each writes its own part, any layout
reads them again.

    parts/shard-*.safetensors    one per process, no pickle
    parts/index.json             the checksum of each
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from qrdistill.base.checksums import KEY, PLACEHOLDER, Damaged, check, seal
from qrdistill.base.errors import DataError
from qrdistill.base.ownership import remove_files
from qrdistill.base.store import content_hash
from qrdistill.base.untrusted.guarded_json import read_json

Like = Callable[[str, torch.Size, torch.dtype], Tensor | None]
"""What to read a tensor into: one that is cut like those of this process, or None where it is not wanted here."""


def write_parts(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """All processes at once; a tensor that is not cut comes from one of them only. `seal_parts` comes last."""
    from torch.distributed import checkpoint

    writer = checkpoint.HuggingFaceStorageWriter(str(folder), save_distributed=True)
    with _without_hints():
        checkpoint.save(dict(tensors), storage_writer=writer)


def seal_parts(folder: Path) -> None:
    """By one process, when all have written."""
    files = {file.name: content_hash(file) for file in sorted(folder.glob("*.safetensors"))}
    index = folder / "index.json"
    index.write_text(json.dumps({"files": files, KEY: PLACEHOLDER}, indent=1) + "\n", encoding="utf-8")
    seal(index)


def check_parts(folder: Path) -> None:
    """Raises Damaged where a part is missing or is not what was written."""
    index = folder / "index.json"
    check(index, required=True)
    try:
        files = read_json(index, fields={"files": dict})["files"]
    except (OSError, DataError):
        raise Damaged(f"{index} is damaged (no JSON)") from None
    for name, expected in files.items():
        file = folder / name
        if not file.is_file() or content_hash(file) != expected:
            raise Damaged(f"{file} is damaged (its checksum differs)")


def read_parts(folder: Path, like: Like) -> dict[str, Tensor]:
    """Each process by itself, whatever layout wrote them: what it wants, cut as it asks. Also of a single file."""
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    reader = checkpoint.HuggingFaceStorageReader(str(folder))
    wanted: dict[str, Tensor] = {}
    for name, found in reader.read_metadata().state_dict_metadata.items():
        assert isinstance(found, TensorStorageMetadata), f"{name} is no tensor"
        if (into := like(name, found.size, found.properties.dtype)) is not None:
            wanted[name] = into
    with _without_hints():
        checkpoint.load(wanted, storage_reader=checkpoint.HuggingFaceStorageReader(str(folder)), no_dist=True)
    return wanted


def remove_parts(checkpoint: Path) -> None:
    remove_files(checkpoint / "parts", ("shard-*.safetensors", "index.json"))


@contextmanager
def _without_hints() -> Generator[None]:
    """torch notes that it works in one process where it was told to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield
