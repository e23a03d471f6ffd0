"""Settings for every test: no hub, no deadlines on a shared machine, the same examples each time."""

import os
import signal
from itertools import islice

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs have it: Ctrl-C is tested here
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The list as one share per worker, each with its slow tests first: no worker ends alone with a long one.

    A file's slow tests stay together, for what they share is made once. The tests on Ray stand in the first share,
    which has fewer of the other slow ones, so that they use one cluster.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    on_ray = [item for item in items if "/compute/" in item.nodeid]
    others = [item for item in items if "/compute/" not in item.nodeid]
    slow = [item for item in others if item.get_closest_marker("slow")]
    rest = iter([item for item in others if not item.get_closest_marker("slow")])
    shares = [on_ray, *([] for _ in range(workers - 1))]
    turns = [*range(workers), *range(1, workers)]
    files = list(dict.fromkeys(item.path for item in slow))
    for item in slow:
        shares[turns[files.index(item.path) % len(turns)]].append(item)
    for share in shares:
        share.extend(islice(rest, max(0, len(items) // workers - len(share))))
    items[:] = [*(item for share in shares for item in share), *rest]
