"""Which mesh a number of processes makes: it comes out even, or one message says what would."""

from __future__ import annotations

import pytest

from qrdistill.base.errors import ConfigError
from qrdistill.training.mesh.config import MeshConfig
from qrdistill.training.mesh.layout import choose_layout


@pytest.mark.parametrize("world", range(1, 9))
@pytest.mark.parametrize("num_students", range(1, 6))
def test_every_process_and_student_has_one_place(world: int, num_students: int) -> None:
    layout = choose_layout(MeshConfig(), world=world, num_students=num_students)
    assert layout.students * layout.data == world
    assert set(layout.column_S) == set(range(layout.students)), "no column is idle"
    assert sorted(s for column in range(layout.students) for s in layout.of(column)) == list(range(num_students))
    ranks = [layout.first_rank(s) for s in range(num_students)]
    assert all(0 <= rank < world and rank % layout.data == 0 for rank in ranks)


@pytest.mark.parametrize(
    ("mesh", "world", "num_students", "words"),
    [
        ({"students": 3}, 1, 3, "students 3 times data 1 is 3, but there is 1 process; start 3 with torchrun"),
        ({"students": 2}, 3, 2, "students 2 times data 1 is 2, but there are 3 processes"),
        ({"data": 3}, 4, 2, "numbers whose product is 4"),
        ({"students": 4, "data": 2}, 4, 4, "is 8, but there are 4 processes; start 8"),
        ({"students": 4}, 4, 2, "4 columns for 2 student.s.: a column would have none; at most 2"),
        ({"data": 1}, 4, 2, "4 columns for 2 student.s."),
    ],
)
def test_what_does_not_come_out_even_is_refused(
    mesh: dict[str, int], world: int, num_students: int, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        choose_layout(MeshConfig(**mesh), world=world, num_students=num_students)
    assert str(refused.value.key).startswith("train.mesh")
