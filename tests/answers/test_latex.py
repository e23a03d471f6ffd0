"""Worker processes: what hangs or crashes costs one undecided verdict, the rest is unharmed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from qrdistill.answers import latex
from qrdistill.answers.latex import LatexWorkers

HANGING = "9^{9^{9^{9}}}"


@pytest.fixture(scope="module")
def workers() -> Iterator[LatexWorkers]:
    pool = LatexWorkers(1, cpu_seconds=1.0)
    yield pool
    pool.close()


def test_a_hanging_comparison_is_undecided_and_the_others_are_done(workers: LatexWorkers) -> None:
    asked = [("x+1", "1+x"), ("x^2+1", HANGING), ("x+x", "2x"), ("x", "y")]
    tickets = [workers.submit(*pair) for pair in asked]
    results = [workers.wait(ticket) for ticket in tickets]
    assert [result.outcome for result in results] == ["correct", "undecided", "correct", "wrong"]
    assert "more than 1 s" in results[1].reason
    assert workers.restarts == 1


def test_a_killed_worker_is_replaced(workers: LatexWorkers) -> None:
    assert workers.wait(workers.submit("2a", "a+a")).outcome == "correct"
    process = workers._workers[0].process
    os.kill(process.pid, signal.SIGSEGV)
    process.wait()
    tickets = [workers.submit(f"{n}b", f"b+{n - 1}b") for n in range(3, 9)]
    outcomes = [workers.wait(ticket).outcome for ticket in tickets]
    assert outcomes.count("undecided") <= 1  # the one that was being worked on
    assert set(outcomes) <= {"correct", "undecided"}


def test_results_do_not_depend_on_the_number_of_workers(workers: LatexWorkers) -> None:
    asked = [(f"{n}x+{n}", f"{n}(x+1)") if n % 3 else (f"{n}x", f"{n + 1}x") for n in range(1, 13)]
    outcomes: list[list[str]] = []
    two = LatexWorkers(2)
    for pool in (workers, two):
        tickets = [pool.submit(*pair) for pair in asked]
        outcomes.append([pool.wait(ticket).outcome for ticket in tickets])
    two.close()
    assert outcomes[0] == outcomes[1] == ["correct" if n % 3 else "wrong" for n in range(1, 13)]


def test_long_answers_and_repeated_ones_cost_no_work() -> None:
    pool = LatexWorkers(1)
    assert "longer than" in pool.wait(pool.submit("x", "x+" * 600 + "x")).reason
    assert not pool._workers
    assert pool.submit("x", "x^1") is pool.submit("x", "x^1")
    pool.close()


def test_threads_may_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    results: dict[int, str] = {}

    def work(number: int) -> None:
        results[number] = latex.wait(latex.submit(f"{number}y+y", f"{number + 1}y")).outcome

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(6), "correct")


def test_a_forked_childs_end_leaves_the_parents_workers_alone() -> None:
    assert latex.wait(latex.submit("3z", "z+2z")).outcome == "correct"
    pool = latex._pools[os.getpid()]
    pool._owner = -1  # as a forked child sees it
    pool.close()
    pool._owner = os.getpid()
    assert pool._workers
    assert latex.wait(latex.submit("4z", "z+3z")).outcome == "correct"


def test_what_is_infinite_equals_itself_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the library says: infinity less anything is infinity, or nothing."""
    from math_verify import grader

    from qrdistill.answers import latex_worker

    assert latex_worker.compare("\\infty", "\\infty")[0] == "correct"
    assert latex_worker.compare("(-\\infty, 3)", "x < 3")[0] == "correct"
    monkeypatch.setattr(grader, "verify", lambda *sides, **settings: True)
    assert latex_worker.compare("\\sqrt{2}", "\\infty \\sqrt{23}")[0] == "wrong"
    assert latex_worker.compare("\\infty", "-\\infty")[0] == "wrong"
    assert latex_worker.compare("\\infty", "\\infty")[0] == "correct"
