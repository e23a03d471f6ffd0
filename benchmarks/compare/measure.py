"""Both sides once: each is killed while it asks, started again, and run to its scores.

python measure.py WORK_FOLDER PYTHON_WITH_DISTILABEL
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
LAB = HERE.parents[1] / "src/qrdistill/lab/students"


def sold() -> int:
    with urllib.request.urlopen("http://127.0.0.1:8765/count") as reply:
        return json.load(reply)


def run(command: list[str], folder: Path, stop: int | None = None, limit: float = 100) -> str:
    """Run until the end, or until `stop` (a signal) after 40 replies, or for `limit` seconds.

    Wall and CPU seconds with all children, and the largest resident memory of one process, by the kernel's account.
    """
    started, bought, killed = time.time(), 0, ""
    with (folder / "log").open("a") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, start_new_session=True)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            bought += sold()
            if stop and bought >= 40 and not killed:
                killed = signal.Signals(stop).name
                # Ctrl-C in a terminal, and a kill of the container, reach every process of the group
                os.killpg(process.pid, stop)
            if time.time() - started > limit:
                killed = f"given up after {limit:.0f} s"
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.05)
    wall = time.time() - started
    time.sleep(1)  # what was in flight is counted too
    cpu = usage.ru_utime + usage.ru_stime
    code = os.waitstatus_to_exitcode(status)
    return (
        f"exit {code} {killed}, wall {wall:.1f} s, CPU {cpu:.1f} s, "
        f"peak {usage.ru_maxrss / 1024:.0f} MB, bought {bought + sold()}"
    )


def main(work: Path, other_python: str) -> None:
    work.mkdir(parents=True)
    os.environ |= {"LOCAL_KEY": "any", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen([sys.executable, str(HERE / "teacher_server.py"), str(work / "questions.jsonl")])
    ours = [sys.executable, "-m", "qrdistill", "run", "config.yaml"]
    hand = [other_python, str(HERE / "by_hand.py"), "questions.jsonl", "out"]
    hand += [str(LAB / "mistral-tiny"), str(LAB / "gemma-tiny")]
    sides = {"ours": (ours, ["--until", "generate"]), "by hand": (hand, ["--until", "paths"])}

    def folder(name: str) -> Path:
        made = work / name
        made.mkdir()
        (made / "config.yaml").write_text((HERE / "config.yaml").read_text())
        (made / "questions.jsonl").write_text((work / "questions.jsonl").read_text())
        return made

    try:
        while True:
            try:
                sold()
                break
            except OSError:
                time.sleep(0.2)
        for side, (command, _) in sides.items():
            print(side, "undisturbed:", run(command, folder(side)), flush=True)
        for stop in (signal.SIGINT, signal.SIGKILL):
            for side, (command, until) in sides.items():
                at = folder(f"{side} {stop.name}")
                print(side, "stopped:", run([*command, *until], at, stop, 40), flush=True)
                print(side, "again:", run([*command, *until], at, limit=40), flush=True)
    finally:
        server.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2])
