"""Generates through batches in forked children, one after the other, until one is not killed.

The words of `main` are FOLDER URL NUM_QUESTIONS. The number of the living child stands in FOLDER/pid, for the server that kills it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from generation_runner import run, teacher

from qrdistill.llm.batch import batches


def child(folder: Path, url: str, number: int) -> int:
    batches.FIRST_POLL = batches.LONGEST_POLL = batches.IDLE = 0.05
    (folder / "pid.new").write_text(str(os.getpid()))
    (folder / "pid.new").rename(folder / "pid")
    try:
        run(folder / "run", [teacher(url, batch=True, batch_requests=20)], number, cache=folder / "replies.sqlite")
    except BaseException as error:
        print(type(error), error, file=sys.stderr, flush=True)
        return 1
    return 0


def main(words: list[str]) -> int:
    folder, url, number = Path(words[0]), words[1], int(words[2])
    killed = 0
    while True:
        pid = os.fork()
        if pid == 0:
            os._exit(child(folder, url, number))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code != -signal.SIGKILL:
            print(f"killed {killed}", flush=True)
            return code
        killed += 1
