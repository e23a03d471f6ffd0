import json
import os
from contextlib import suppress

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from qrdistill.base.checksums import KEY, PLACEHOLDER, Damaged, check, seal
from qrdistill.base.errors import DataError
from qrdistill.base.records import Question
from qrdistill.base.store import read_table, write_table


def table(path):
    rows = [
        Question(id=f"q{n}", split="test", task="t", family="f", kind="number", question=f"{n}+1?", gold=str(n + 1))
        for n in range(5)
    ]
    write_table(path, Question, rows)
    return rows


def tensors(path):
    save_file({"w": np.arange(40.0)}, path, metadata={KEY: PLACEHOLDER})
    seal(path)


def document(path):
    path.write_text(json.dumps({"step": 3, KEY: PLACEHOLDER, "tokens": [1, 2]}))
    seal(path)


@pytest.mark.parametrize(("write", "every"), [(table, 11), (tensors, 1), (document, 1)])
def test_every_flipped_bit_is_noticed(tmp_path, write, every):
    file = tmp_path / "file"
    write(file)
    check(file, required=True)
    whole = file.read_bytes()
    for place in range(0, len(whole), every):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        other = tmp_path / str(place)  # a file of its own: a clock may not tell two writes apart
        other.write_bytes(flipped)
        with pytest.raises(Damaged, match=str(other)):
            check(other, required=True)
        other.unlink()


def test_a_damaged_table_never_gives_other_rows(tmp_path):
    rows, file = table(tmp_path / "a"), tmp_path / "a"
    assert list(read_table(file, Question)) == rows
    whole = file.read_bytes()
    unnoticed = 0
    mark = whole.index(KEY.encode())
    for place in sorted({*range(0, len(whole), 7), *range(mark - 9, mark + len(PLACEHOLDER) + 9)}):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        other = tmp_path / f"{place}.parquet"
        other.write_bytes(flipped)
        with suppress(DataError):
            assert list(read_table(other, Question)) == rows
            unnoticed += 1
    assert unnoticed == len(KEY) + 1  # a flip in the mark itself: a table without a checksum may be anyone's


def test_any_tool_still_reads_a_sealed_file(tmp_path):
    tensors(tmp_path / "t")
    assert load_file(tmp_path / "t")["w"].tolist() == list(range(40))
    document(tmp_path / "j")
    assert json.loads((tmp_path / "j").read_text())["tokens"] == [1, 2]


def test_a_large_file_is_sealed_in_its_footer_or_header(tmp_path):
    for name, content in (
        ("end", os.urandom(9 << 20) + PLACEHOLDER.encode()),
        ("start", PLACEHOLDER.encode() + os.urandom(9 << 20)),
    ):
        file = tmp_path / name
        file.write_bytes(content)
        seal(file)
        check(file, required=True)
        with file.open("r+b") as handle:
            handle.seek(5 << 20)
            handle.write(b"damage")
        with pytest.raises(Damaged):
            check(file)


@pytest.mark.parametrize("place", [0, (1 << 20) - 19, (1 << 20) - 52, 2 << 20])
def test_wherever_the_mark_stands_only_it_is_changed(tmp_path, place):
    before = os.urandom(place) + PLACEHOLDER.encode() + os.urandom(1 << 20)
    (tmp_path / "f").write_bytes(before)
    seal(tmp_path / "f")
    pairs = zip(before, (tmp_path / "f").read_bytes(), strict=True)
    changed = [index for index, (old, new) in enumerate(pairs) if old != new]
    assert changed[0] >= place + len(KEY) + 1
    assert changed[-1] < place + len(PLACEHOLDER)
    check(tmp_path / "f", required=True)


def test_a_file_without_a_checksum_is_anothers(tmp_path):
    (tmp_path / "x").write_text("x")
    check(tmp_path / "x")
    with pytest.raises(Damaged, match="lost its checksum"):
        check(tmp_path / "x", required=True)
    with pytest.raises(Damaged, match="cannot be read"):
        check(tmp_path / "none")
