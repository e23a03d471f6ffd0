"""Settings for every test: no hub, no deadlines on a shared machine, the same examples each time."""

import os
import signal

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs have it: Ctrl-C is tested here
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The list as two halves, one per worker, each with its slow tests first: no worker ends alone with a long one.

    The tests on Ray stand in one of them, so that they share one cluster.
    """
    on_ray = [item for item in items if "/compute/" in item.nodeid]
    others = [item for item in items if "/compute/" not in item.nodeid]
    slow = [item for item in others if item.get_closest_marker("slow")]
    rest = [item for item in others if not item.get_closest_marker("slow")]
    first = [*on_ray, *slow[::3]]
    second = [item for place, item in enumerate(slow) if place % 3]
    room = max(0, len(items) // 2 - len(first))
    items[:] = [*first, *rest[:room], *second, *rest[room:]]
