"""A process that runs a grid's runs one after another: `python -m qrdistill.studies.grid.worker`.

Each line on stdin is a JSON list [run directory, last stage, whether to stop before the first stage that asks nobody];
`quit` ends it. Progress and outcomes
go to stdout as JSON lines. Where the parent dies, stdin closes, and so do we at once.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path

from qrdistill.base.errors import QRDistillError
from qrdistill.base.stop_signals import interruptible
from qrdistill.base.untrusted.redact import redact
from qrdistill.runs.pipeline import Part, run
from qrdistill.runs.terminal import JsonLines


def main() -> int:
    # Ctrl-C reaches the whole process group: the parent decides, and ends us with SIGTERM
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    try:
        with interruptible():
            return _work(lines)
    except KeyboardInterrupt:
        return 130


def _work(lines: queue.Queue[str]) -> int:
    while (line := lines.get()) != "quit":
        folder, until, asks_only = json.loads(line)
        code, message = 0, ""
        try:
            run(
                Path(folder) / "config.yaml",
                folder,
                until=until,
                share=Path(folder).parent,
                progress=JsonLines(sys.stdout),
                part=Part(lambda stage: stage.asks) if asks_only else None,
            )
        except QRDistillError as error:
            code, message = error.exit_code, redact(str(error))
        except Exception as error:  # a defect of ours must not take the other runs along
            code, message = 1, redact(f"{type(error).__name__}: {error}")
        print(json.dumps({"event": "finished", "code": code, "message": message}), flush=True)
        if code == 130:
            return code
    return 0


def _listen(lines: queue.Queue[str]) -> None:
    # not through sys.stdin: its lock, held by a waiting thread, would block our own exit
    rest = b""
    while block := os.read(0, 65536):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            lines.put(line.decode())
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
