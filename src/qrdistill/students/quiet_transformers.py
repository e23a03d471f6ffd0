"""transformers says on stderr what we say in one message: silenced while we load and save."""

from __future__ import annotations

import contextlib
import logging as stdlib_logging
import warnings
from collections.abc import Generator


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Inside, neither logs nor progress bars nor what peft does that transformers deprecates."""
    from transformers.utils import logging

    bitsandbytes = stdlib_logging.getLogger("bitsandbytes")  # warns of kernels that no CPU needs
    cosmetic = bitsandbytes.level
    bitsandbytes.setLevel(stdlib_logging.ERROR)
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        bitsandbytes.setLevel(cosmetic)
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
