"""Settings for every test: no hub, no deadlines on a shared machine, the same examples each time."""

import os
import signal

from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs have it: Ctrl-C is tested here
    signal.signal(signal.SIGINT, signal.default_int_handler)
