"""Do two run folders hold the same? `python benchmarks/same_tables.py OLD NEW`

For a refactoring that must change nothing: compares every row of every table, every weight of every student, and all of
scores.json, below two run folders (or folders of runs). Bytes may differ where a format got a checksum or a version.
Prints what differs, what is missing and what is new; exit code 1 where anything differs or is missing.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
from safetensors.numpy import load_file

PRIVATE = (".answers.parts", "checkpoints")  # how a run resumes is its own affair


def content(file: Path) -> str:
    """A hash of what a file says."""
    if file.suffix == ".parquet":
        said = json.dumps(pq.read_table(file).to_pylist(), sort_keys=True, default=str).encode()
    elif file.suffix == ".safetensors":
        said = b"".join(name.encode() + array.tobytes() for name, array in sorted(load_file(file).items()))
    elif file.suffix == ".json":
        said = json.dumps(json.loads(file.read_text("utf-8")), sort_keys=True).encode()
    else:
        said = file.read_bytes()
    return hashlib.blake2b(said, digest_size=8).hexdigest()


def contents(folder: Path) -> dict[str, str]:
    names = ("*.parquet", "*.safetensors", "*.npy", "scores.json")
    files = [file for name in names for file in sorted(folder.rglob(name))]
    kept = [file for file in files if not set(PRIVATE) & set(file.relative_to(folder).parts)]
    return {str(file.relative_to(folder)): content(file) for file in kept}


def main(old: str, new: str) -> int:
    before, after = contents(Path(old)), contents(Path(new))
    differ = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    missing, added = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    print(f"{len(before)} files: {len(before) - len(differ) - len(missing)} say the same")
    for title, names in (("differ", differ), ("missing", missing), ("new", added)):
        if names:
            print(f"{title}: {len(names)}\n  " + "\n  ".join(names))
    return 1 if differ or missing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
