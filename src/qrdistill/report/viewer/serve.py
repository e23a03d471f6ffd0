"""`serve`: a run's viewer on 127.0.0.1, over its Parquet tables, also while the run goes on.

Whoever knows the address, with the token in it, reads the run; a request under another name than this machine's
(a page elsewhere that had its name point here) is refused. Nothing is written.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qrdistill.base.errors import DataError, InputError
from qrdistill.base.untrusted.redact import redact
from qrdistill.report.run_facts import RunData, read_files
from qrdistill.report.viewer.cards import cards
from qrdistill.report.viewer.listing import listing
from qrdistill.report.viewer.overview import chosen_styles, overview, students_of
from qrdistill.report.viewer.page import SCRIPTS, script_policy, viewer_css, with_scripts
from qrdistill.report.viewer.tables import Tables

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_HOSTS = ("127.0.0.1", "localhost")


class LiveRun:
    """A run's tables, built anew in the background whenever its files have changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failure = ""
        self._lock = threading.Lock()
        self._building = False
        self._version = ""
        self._current: tuple[Tables, RunData, dict[str, Any] | None] | None = None

    def now(self) -> tuple[Tables, RunData, dict[str, Any] | None]:
        """The tables, what is known of the run, and its overview: None while the facts are still being made."""
        with self._lock:
            if self._current is None:
                run = read_files(self.folder)
                tables = Tables(self.folder, threads=2)
                tables.list_questions()
                self._current = (tables, run, None)
            return self._current

    def look(self) -> str:
        """A word that changes when the tables that are shown do; starts building where the files have changed.

        A page asks for it after its first list, so that nothing is counted while a reader waits for that.
        """
        self.now()
        with self._lock:
            if self._version != self._stamp():
                self._start()
            return self._version

    def _stamp(self) -> str:
        files = [self.folder / name for name in ("manifest.json", "scores.json", "metrics.jsonl")]
        files += [file for found in Tables.places(self.folder).values() for file in found]
        status = [file.stat() for file in files if file.exists()]
        return (
            f"{len(status)}-{sum(one.st_size for one in status)}-{max((one.st_mtime_ns for one in status), default=0)}"
        )

    def _start(self) -> None:
        if not self._building:
            self._building = True
            threading.Thread(target=self._build, daemon=True).start()

    def _build(self) -> None:
        stamp = self._stamp()
        try:
            run, tables = read_files(self.folder), Tables(self.folder, threads=2)
            tables.check()
            tables.build(chosen_styles(run))
            with self._lock:  # an older connection is left to those that still read from it
                self._current = (tables, run, overview(run, tables))
            self.failure = ""
        except (DataError, OSError) as error:
            self.failure = str(error)
        finally:
            with self._lock:
                self._building, self._version = False, stamp


def make_app(folder: Path, token: str) -> Starlette:
    """token: the first part of every address that is answered."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    run = LiveRun(folder)
    run.now()

    def guarded(answer: Callable[[Request, LiveRun], Response]) -> Callable[[Request], Response]:
        def respond(request: Request) -> Response:
            host = request.headers.get("host", "").rsplit(":", 1)[0]
            if host not in _HOSTS or not secrets.compare_digest(request.path_params["token"], token):
                response: Response = PlainTextResponse("not found", 404)
            else:
                try:
                    response = answer(request, run)
                except (InputError, DataError) as error:
                    response = PlainTextResponse(redact(str(error)), 400)
            response.headers.update(
                {
                    "Cache-Control": "no-store",
                    "Referrer-Policy": "no-referrer",
                    "X-Content-Type-Options": "nosniff",
                    "Cross-Origin-Resource-Policy": "same-origin",
                    "Content-Security-Policy": "frame-ancestors 'none'",  # the rest stands in the page itself
                }
            )
            return response

        return respond

    answers = {"": _page, "api/overview": _overview, "api/list": _list, "api/question": _question, "api/state": _state}
    return Starlette(
        routes=[Route("/{token}/" + place, guarded(answer), methods=["GET"]) for place, answer in answers.items()]
    )


def _page(request: Request, run: LiveRun) -> Response:
    from starlette.responses import HTMLResponse

    from qrdistill.report.report import render

    _, data, _ = run.now()
    html = render(
        "view.html.j2",
        name=data.config.get("name") or run.folder.resolve().name,
        address=f"/{request.path_params['token']}/",
        policy=f"{script_policy()}; connect-src 'self'",
        viewer_css=viewer_css(),
        scripts=SCRIPTS,
        config_text=data.config_text,
    )
    return HTMLResponse(with_scripts(redact(html), {}))


def _json(value: Any, status: int = 200) -> Response:
    from starlette.responses import Response

    text = redact(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return Response(text.encode("utf-8", "replace"), status, media_type="application/json")


def _overview(request: Request, run: LiveRun) -> Response:
    tables, data, found = run.now()
    return _json(found or overview(data, tables, complete=False))


def _list(request: Request, run: LiveRun) -> Response:
    tables, data, _ = run.now()
    return _json(listing(tables, dict(request.query_params), students_of(data)))


def _question(request: Request, run: LiveRun) -> Response:
    tables, _, _ = run.now()
    name = request.query_params.get("q") or _question_of(tables, request.query_params.get("p", ""))
    found = cards(tables, [name])
    return _json(found[name]) if name in found else _json(None, 404)


def _question_of(tables: Tables, path: str) -> str:
    found = tables.run("select question_id from paths where id = ? limit 1", path)
    return found[0][0] if found else ""


def _state(request: Request, run: LiveRun) -> Response:
    version = run.look()
    _, data, built = run.now()
    stages: Mapping[str, Mapping[str, Any]] = read_files(run.folder, metrics=False).stages
    done = [name for name, entry in stages.items() if entry.get("state") == "done"]
    ended = "report" in done or "score" in done
    line = run.failure or ("" if ended else f"The run goes on: {', '.join(done[-1:]) or 'nothing'} done")
    if data.metrics and not ended and "train" not in done:
        line += f", training at step {int(data.metrics[-1].get('step', 0))}"
    return _json(
        {
            "version": version,
            "ready": built is not None,
            "line": line if built or run.failure else "Reading the tables …",
        }
    )


def serve(folder: Path, *, port: int = 0, started: Callable[[str], None]) -> None:
    """Serves until interrupted; `started` gets the address. port: 0 takes a free one. Raises InputError."""
    import socket

    import uvicorn

    if not (folder / "manifest.json").is_file():
        raise InputError(f"{folder} is no run directory (no manifest.json in it); runs live in runs/<name>")
    token = secrets.token_urlsafe(16)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(
                f"port {port} cannot be used ({error.strerror}); leave --port out for a free one"
            ) from error
        listening.listen()
        app = make_app(folder, token)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", access_log=False))
        started(f"http://127.0.0.1:{listening.getsockname()[1]}/{token}/")
        with contextlib.suppress(KeyboardInterrupt):  # how it is ended
            server.run(sockets=[listening])
