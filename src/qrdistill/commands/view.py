"""`qrdistill view`: a run in the browser."""

from __future__ import annotations

import sys
from pathlib import Path


def view(run_dir: Path, *, port: int = 0, browser: bool = True) -> None:
    """Serves the run on this machine alone until Ctrl-C. Raises InputError."""
    from qrdistill.report.viewer.serve import serve

    def started(address: str) -> None:
        print(address, flush=True)
        print("Ctrl-C ends it; the address works on this machine only", file=sys.stderr)
        if browser and sys.stdout.isatty():
            import webbrowser

            webbrowser.open(address)

    serve(run_dir, port=port, started=started)
