from __future__ import annotations

import os
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrdistill.base.errors import ConfigError
from qrdistill.verdicts.checks import sandbox
from qrdistill.verdicts.checks.program import find_code, program
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.open_case import Case

kernel = pytest.mark.usefixtures("seccomp")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\nprint(7)\n```\nThe answer is 7.", "print(7)\n"),
        ("```py\nx = 3\n```\nthen\n```python\nprint(x)\n```\nOutput:\n```\n7\n```", "x = 3\nprint(x)\n"),
        ("```\nprint(7)\n```", "print(7)\n"),
        ("```bash\nls\n```", None),
        ("```python\nprint(7)", "print(7)"),  # cut off before the fence closes: the line alone still parses
        ("We write:\nx = 3 + 4\nprint(x)\nThe answer is 7.", "x = 3 + 4\nprint(x)"),
        ("3 + 4 = 7. The answer is 7.", None),
        ("", None),
    ],
)
def test_where_the_code_is(text: str, code: str | None) -> None:
    assert find_code(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "```" + "a" * 100_000,
        "```" + " " * 100_000,
        "```" + "a" * 20_000 + "\n" + "x\n" * 20_000,
        "\n".join("{a:" * 300 + "print(" for _ in range(1000)),
    ],
)
def test_no_text_makes_the_search_slow(text: str) -> None:
    """In seconds of processor time, so that a busy machine changes nothing; they took minutes to hours."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        os._exit(0 if find_code(text) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@given(st.lists(st.sampled_from(["print(1)", "x = (", "```", "```python", "So:", "\x00", ")", "  y = 2"]), max_size=12))
def test_no_text_breaks_the_search(lines: list[str]) -> None:
    find_code("\n".join(lines))


@kernel
@pytest.mark.parametrize(
    ("code", "stated", "outcome", "reason"),
    [
        ("print(3 + 4)", "7", "keep", ""),
        ("print(7.0)", "7", "keep", ""),
        ("print('apples:', 3 + 4)", "7", "keep", ""),
        ("print(3 * 4)", "7", "drop", "the code prints 12, the path states 7"),
        ("print(x)", "7", "drop", "the code ends in NameError: name 'x' is not defined"),
        ("print(", "7", "drop", "the code ends in SyntaxError"),
        ("x = 7", "7", "undecided", "nothing readable printed"),
        (
            "import numpy; print(7)",
            "7",
            "undecided",
            "the sandbox stopped the code: Refused: import of 'numpy'",
        ),
        (
            "print(open('/etc/passwd').read())",
            "7",
            "undecided",
            "the sandbox stopped the code: Refused: open",
        ),
    ],
)
def test_what_the_code_prints_against_what_the_path_states(
    make_question, make_path, code, stated, outcome, reason
) -> None:
    path = make_path(f"```python\n{code}\n```\nThe answer is {stated}.", style="program")
    [finding] = program([Case(make_question(), path)])
    assert finding.outcome == outcome
    assert finding.reason.startswith(reason)


@kernel
def test_no_code_is_undecided_and_other_styles_are_not_asked(make_question, make_path) -> None:
    cases = [Case(make_question(), make_path("7", style=style)) for style in ("program", "vanilla")]
    finding, none = program(cases)
    assert (finding.outcome, finding.reason) == ("undecided", "no code found")
    assert none is None


@kernel
def test_it_runs_in_the_filter_when_switched_on(make_question, make_path, run_filter) -> None:
    texts = [f"```python\nprint({n})\n```\nThe answer is 7." for n in (7, 8)]
    paths = [make_path(text, style="program", sample=n) for n, text in enumerate(texts)]
    paths.append(make_path(style="vanilla"))
    counts, _ = run_filter([make_question()], paths, FilterConfig(program=True, near_duplicate=1.0))
    assert (counts.kept, counts.dropped) == (2, 1)
    assert counts.by_check["program"].generated == 2
    assert FilterConfig().program is False


def test_without_a_kernel_filter_nothing_is_run(make_question, make_path, monkeypatch) -> None:
    monkeypatch.setattr(sandbox, "available", lambda: False)
    with pytest.raises(ConfigError, match="seccomp") as caught:
        program([Case(make_question(), make_path("```python\nprint(7)\n```", style="program"))])
    assert caught.value.key == "filter.program"
