"""A pool gives back what it was given and holds no text of it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from qrdistill.base.errors import BoundaryError
from qrdistill.base.records import ReasoningPath
from qrdistill.training.pool import SCHEMA, Lazy, Pool, PoolPath, batches_of

ASKED = {f"q{n}": f"How many are {n}?" for n in range(900)}
PATHS = [
    ReasoningPath(
        id=f"p{n}", question_id=f"q{n % 900}", teacher="t", style="ab"[n % 2], prompt_hash="", text=text, answer=None
    )
    for n, text in enumerate(["", " \n", "\u00e9 so", "7", *(f"It is {n}." for n in range(9000))])
]


def test_rows_and_numbers_are_those_of_the_paths(tmp_path: Path) -> None:
    pool = Pool(batches_of(PATHS, ASKED), tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []  # nothing that a kill could leave
    assert len(pool) == len(PATHS)
    for row in (0, 2, 4095, 4096, len(PATHS) - 1, -1):
        path = PATHS[row]
        assert pool[row] == PoolPath(path.id, path.question_id, path.style, ASKED[path.question_id], path.text)
    pool.let_go()
    assert list(pool.ids()) == [path.id for path in PATHS]
    assert pool.characters_N.tolist() == [len(path.text) for path in PATHS]
    assert pool.blank_N.tolist() == [not path.text.strip() for path in PATHS]
    assert [pool.styles[code] for code in pool.style_N] == [path.style for path in PATHS]
    assert pool.question_N.tolist() == [n % 900 for n in range(len(PATHS))]
    assert pool.asked_N[:2].tolist() == [15, 15]
    assert pool.weight_N[2:4].tolist() == [15 + 4 + 33, 15 + 1]


def test_the_digest_is_of_all_texts_in_order() -> None:
    parts = [PATHS[:5], PATHS[5:6], PATHS[6:20]]
    cut = Pool(batch for part in parts for batch in batches_of(part, ASKED))
    assert cut.digest == Pool(batches_of(PATHS[:20], ASKED)).digest
    other = [PATHS[1], PATHS[0], *PATHS[2:20]]
    asked = ASKED | {"q7": "How many are 7!"}
    moved = PATHS[3].model_copy(update={"id": "p37", "text": ""})  # the same letters, elsewhere
    for paths, questions in ((other, ASKED), (PATHS[:20], asked), ([*PATHS[:3], moved, *PATHS[4:20]], ASKED)):
        assert Pool(batches_of(paths, questions)).digest != cut.digest


def test_a_pool_of_nothing() -> None:
    pool = Pool([])
    assert (len(pool), list(pool), pool.styles, SCHEMA.names) == (0, [], [], list(PoolPath._fields))


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    def full():
        yield from batches_of(PATHS[:5], ASKED)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(BoundaryError, match=f"texts into {tmp_path}: No space left on device; free some space"):
        Pool(full(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_lazy_sequence_is_a_sequence() -> None:
    squares = Lazy(5, lambda place: place * place)
    assert (list(squares), squares[-1], squares[1:3], len(squares), 9 in squares) == (
        [0, 1, 4, 9, 16],
        16,
        [1, 4],
        5,
        True,
    )
    with pytest.raises(IndexError):
        squares[5]
