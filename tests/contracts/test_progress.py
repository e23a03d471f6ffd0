"""The contract of everything that shows progress: calls in any order, about anything, never raise; warnings stay."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from qrdistill.base.progress import Aside, Progress, Silent
from qrdistill.runs.terminal import Live, Plain

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e\r[red]red[/red] [/] [bold \ud800\x00 {0} %s {x}"
Make = Callable[[io.StringIO], Progress]

MADE: dict[str, Make] = {
    "silent": lambda stream: Silent(),
    "aside": lambda stream: Aside(Plain(stream, pause=-1)),
    "plain": lambda stream: Plain(stream, pause=-1),
    "live": lambda stream: Live(Console(file=stream, force_terminal=True, width=200)),
}

texts = st.one_of(st.just(HOSTILE), st.text(max_size=20))
facts = st.dictionaries(
    st.sampled_from(["loss", "usd", "stage", "message", "teachers", "event"]),
    st.one_of(st.floats(), texts, st.none(), st.just(object())),
    max_size=2,
)
counts = st.one_of(st.none(), st.integers(0, 5))
calls = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.tuples(texts, counts), st.just({})),
        st.tuples(st.just("advance"), st.tuples(st.integers(-1, 9)), facts),
        st.tuples(st.just("done"), st.just(()), facts),
        st.tuples(st.just("log"), st.tuples(texts), st.just({})),
        st.tuples(st.just("warn"), st.tuples(texts), st.just({})),
    ),
    max_size=8,
)


@pytest.mark.parametrize("kind", MADE)
class TestEveryProgress:
    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(called=calls)
    def test_any_calls_in_any_order(self, kind: str, called: list[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> None:
        stream = io.StringIO()
        progress = MADE[kind](stream)
        try:
            for name, given_, more in called:
                getattr(progress, name)(*given_, **more)
        finally:
            progress.done()

    def test_no_text_steers_a_terminal_or_is_markup(self, kind: str) -> None:
        stream = io.StringIO()
        progress = MADE[kind](stream)
        progress.start(HOSTILE, 3)
        progress.advance(1, server=HOSTILE)
        progress.log(HOSTILE)
        progress.warn(HOSTILE)
        progress.done(server=HOSTILE)
        shown = stream.getvalue()
        assert not set("\x07\u202e\x00\ud800") & set(shown)
        assert not any(sequence in shown for sequence in ("\x1b]", "\x1b[2J"))
        if kind != "silent":
            assert shown.count("[red]red[/red] [/]") >= 4, "shown as it is"

    def test_a_warning_is_never_lost(self, kind: str) -> None:
        stream = io.StringIO()
        progress = MADE[kind](stream)
        progress.start("train", 2)
        progress.warn("look here")
        progress.done()
        assert "look here" in (progress.warnings[0] if isinstance(progress, Silent) else stream.getvalue())
