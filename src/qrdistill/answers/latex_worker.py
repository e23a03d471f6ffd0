"""The process that compares LaTeX with math-verify: `python -m qrdistill.answers.latex_worker CPU_SECONDS`.

Reads one JSON array [gold, answer] per line, writes one JSON array [outcome, reason] per line. It may
hang or crash: the kernel ends it when one comparison takes more than CPU_SECONDS of processor time,
and `qrdistill.answers.latex` starts another.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from typing import Any

MEMORY = 3 << 30  # bytes of address space


def main() -> None:
    seconds = float(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is no reply
    logging.disable(logging.CRITICAL)
    _limit_memory()
    compare("1", "1")  # imports math-verify and builds its tables before the clock runs

    print(json.dumps(["ready", ""]), file=replies, flush=True)
    for line in sys.stdin:
        gold, answer = json.loads(line)
        with _clock(seconds):
            try:
                reply = compare(gold, answer)
            except Exception as error:
                reply = ("undecided", f"math-verify failed: {type(error).__name__}")
        print(json.dumps(reply), file=replies, flush=True)


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


class _clock:
    """Processor seconds until the kernel kills this process: a loop in C cannot swallow that, and a
    busy machine does not change what is decided."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, self.seconds)

    def __exit__(self, *error: object) -> None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)


@functools.lru_cache(maxsize=512)
def parsed(text: str) -> Any:
    """A LaTeX text as one sympy object, read whole: never an expression out of its middle."""
    from latex2sympy2_extended.latex2sympy2 import convert_to_pct, normalize_latex
    from math_verify.parser import LatexExtractionConfig, parse_latex_cached

    percent = re.search(r"\s*(?:\\?%|\bper\s?cent(?:age)?|\bpct)\s*$", text)
    if percent:
        text = text[: percent.start()]
    value: Any = parse_latex_cached(normalize_latex(text, config=LatexExtractionConfig().normalization_config))
    return convert_to_pct(value) if percent else value


def compare(gold: str, answer: str) -> tuple[str, str]:
    """correct | wrong | undecided, and why."""
    from math_verify.grader import verify

    _keep_tiny_numbers_apart()
    sides: list[Any] = []
    for name, text in (("gold answer", gold), ("answer", answer)):
        try:
            sides.append(parsed(text))
        except Exception as error:
            return (
                "undecided",
                f"the {name} {text[:60]!r} cannot be read as mathematics ({type(error).__name__})",
            )
    # "x < 3" and its interval are one set of numbers, whichever of them the gold answer is
    for pair in _readings(sides):
        same = verify(*pair, timeout_seconds=None, raise_on_error=True, allow_set_relation_comp=True)
        if same and not _infinitely_apart(*pair):
            return "correct", ""
    return "wrong", f"{answer[:60]} is not {gold[:60]}"


@functools.lru_cache(maxsize=1)
def _keep_tiny_numbers_apart() -> None:
    """math-verify compares numbers to six decimals or, where both are exact, to 15: an absolute bound, under
    which 7^-30 equals 7^-31. Here exact numbers are equal exactly, and decimals to a relative 1e-4 too,
    wherever in a set, matrix or equation they stand."""
    from math_verify import grader

    theirs = grader.sympy_numeric_eq

    def numeric_equal(a: Any, b: Any, float_rounding: int, numeric_precision: int) -> bool:
        return theirs(a, b, float_rounding, numeric_precision) and not _apart(a, b)

    grader.sympy_numeric_eq = numeric_equal


def _apart(a: Any, b: Any) -> bool:
    """Whether two numbers differ by more than their relative bound; False for what is no number."""
    from sympy import Float

    try:
        a, b = a.doit(), b.doit()
        if not (a - b).is_number:
            return False
        rough, fine = (abs((a - b).evalf(digits, maxn=2000)).evalf(digits) for digits in (30, 60))
        if not fine or abs(rough - fine) > fine / 1000:
            return False  # nothing but rounding is left, and it shrinks with more digits: they are equal
        if not (a.has(Float) or b.has(Float)):
            return True
        return bool(a.is_number and fine > 1e-4 * max(abs(a.evalf(30)), abs(b.evalf(30))))
    except (AttributeError, TypeError, ValueError):
        return False


def _infinitely_apart(a: Any, b: Any) -> bool:
    """Whether one of two expressions is infinite and the other is another one: differences say nothing of those."""
    from sympy import Expr, nan, oo, zoo

    if not (isinstance(a, Expr) and isinstance(b, Expr) and (a.has(oo, -oo, zoo, nan) or b.has(oo, -oo, zoo, nan))):
        return False
    return bool(a.doit() != b.doit())


def _readings(sides: list[Any]) -> Iterator[list[Any]]:
    """Both sides as they are, then with i as the imaginary unit: math-verify takes it for a variable."""
    from sympy import I

    yield sides
    named = [[s for s in getattr(side, "free_symbols", ()) if s.name == "i"] for side in sides]
    if any(named):
        yield [side.subs(dict.fromkeys(names, I)) for side, names in zip(sides, named, strict=True)]


if __name__ == "__main__":
    main()
