"""The viewer's scripts and styles as they stand in a page, and the policy that lets only them run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from qrdistill.base.untrusted.redact import redact

Kind = Literal["run", "charts"]  # a run's page with its questions; a page whose charts stand in its data

_MODULES: dict[Kind, tuple[str, ...]] = {
    "run": ("dom", "source", "path", "card", "list", "chart_box", "charts", "placed_charts", "app"),
    "charts": ("dom", "chart_box", "placed_charts"),
}
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./\w+\.js";\n', re.MULTILINE)
SCRIPTS = "<!-- scripts -->"  # where `with_scripts` puts them: after everything else has been redacted


@cache
def viewer_css() -> str:
    return (files("qrdistill.report.viewer") / "assets/viewer.css").read_text(encoding="utf-8")


@cache
def scripts(kind: Kind = "run") -> tuple[str, str]:
    """The chart library, and our modules as one: each file's imports name other files of the same list."""
    folder = files("qrdistill.report.viewer")
    library = (folder / "vendor/echarts.js").read_text(encoding="utf-8")
    ours = [(folder / f"assets/{name}.js").read_text(encoding="utf-8") for name in _MODULES[kind]]
    joined = "".join(re.sub("^export ", "", _IMPORT.sub("", text), flags=re.MULTILINE) for text in ours)
    assert all("</script" not in text and "<!--" not in text and "\r" not in text for text in (library, joined))
    return library, joined


@cache
def script_policy(kind: Kind = "run") -> str:
    """What a Content-Security-Policy says of scripts: these two, by what is in them."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts(kind))
    return "script-src " + " ".join(f"'sha256-{one}'" for one in hashes)


def embedded(value: Any) -> str:
    """JSON that may stand inside a script block: it holds no `<`, and no secret."""
    text = redact(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return text.replace("<", "\\u003c").replace("\r", "\\r")


def with_scripts(html: str, data: Mapping[str, str], kind: Kind = "run") -> str:
    """The page with its data, as blocks that no browser runs, and its scripts. data: id -> text without `<`."""
    assert html.count(SCRIPTS) == 1
    assert all("<" not in text for text in data.values())
    library, joined = scripts(kind)
    blocks = [f'<script type="application/json" id="{name}">{text}</script>' for name, text in data.items()]
    blocks += [f"<script>{library}</script>", f'<script type="module">{joined}</script>']
    return html.replace(SCRIPTS, "\n".join(blocks))
