"""When a student's own paths are too few to teach: on known counts."""

from qrdistill.own_paths.guard import Yield


def test_paths_of_which_less_than_a_twentieth_is_kept_do_not_teach() -> None:
    assert not Yield(1, "ada", sampled=108, kept=5).teaches
    assert Yield(1, "ada", sampled=100, kept=5).teaches
    assert not Yield(1, "ada", sampled=100, kept=4).teaches
    assert Yield(1, "ada", sampled=0, kept=0).teaches  # nothing was asked
    assert Yield(2, "ada", sampled=108, kept=5).sentence() == (
        "ada wrote 108 paths in round 2, of which the filter kept 5 (4.6%, below 5%): too few to teach, so the round "
        "trains on the teachers' paths without them"
    )
