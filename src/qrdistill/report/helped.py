"""Did it help? One sentence: untrained, trained, the gain with its paired interval, and what it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.report.sentences import dollars, percent, points
from qrdistill.scores.statistics import established


@dataclass(frozen=True)
class Helped:
    """`gain` is None where no untrained student was asked: `why_not` says the reason. Shares are between 0 and 1.

    usd: what teachers and judges were paid. tokens: read in training, all students together. seconds: of all stages,
    those taken over from another run included.
    """

    sentence: str
    why_not: str | None
    gain: Mapping[str, Any] | None
    usd: float
    tokens: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def helped(folder: Path, student: str | None = None) -> Helped:
    """Of a run directory, over all its students or for one of them. Raises OSError where there are no scores yet."""
    manifest = folder / "manifest.json"
    stages = read_json(manifest, nan=True).get("stages", {}) if manifest.exists() else {}
    return of_scores(read_json(folder / "scores.json", nan=True), stages, student)


def of_scores(scores: Mapping[str, Any], stages: Mapping[str, Mapping[str, Any]], student: str | None = None) -> Helped:
    usd, tokens, seconds = _took(stages)
    gain = scores.get("gain") if student is None else of_one(scores, student)
    if gain:
        text = f"{_change(gain)} on {gain['n']} questions, for {_price(usd, tokens, seconds)}."
        return Helped(text, None, gain, usd, tokens, seconds)
    why = stages.get("untrained", {}).get("counts", {}).get("why_not")
    why = why or "this run was scored without its untrained students; run the same command again to ask them"
    return Helped(f"What training has changed is not known: {why}.", why, None, usd, tokens, seconds)


def _change(gain: Mapping[str, Any]) -> str:
    """Both shares and the difference, no stronger than its interval."""
    difference = gain["gain"]
    low, high = difference["low"], difference["high"]
    text = f"Untrained {percent(gain['untrained'])}, trained {percent(gain['trained'])}: {points(difference['difference'])}"
    if high - low > 1e-9:
        text += f" ({_bound(low)} to {_bound(high)})"
    return f"{text} points" if established(low, high) else f"{text} points, which is not established,"


def _bound(value: float) -> str:
    return f"{100 * value:.0f}".replace("-0", "0").replace("-", "\u2212")


def _price(usd: float, tokens: int, seconds: float) -> str:
    return f"{dollars(usd)}, {shown_tokens(tokens)} tokens and {shown_time(seconds)}"


def shown_tokens(tokens: int) -> str:
    """
    >>> shown_tokens(1_234_567).split(), shown_tokens(2_400)
    (['1.2', 'M'], '2400')
    """
    return f"{tokens / 1e6:.1f}\u202fM" if tokens >= 1e5 else str(tokens)


def shown_time(seconds: float) -> str:
    """
    >>> shown_time(840), shown_time(12.3), shown_time(9000)
    ('14 minutes', '12 seconds', '2.5 hours')
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _took(stages: Mapping[str, Mapping[str, Any]]) -> tuple[float, int, float]:
    """Dollars, tokens read in training, seconds."""
    usd, tokens = 0.0, 0
    for name, stage in stages.items():
        counts, verb = stage.get("counts", {}), name.partition("@")[0]
        if verb == "generate":
            usd += counts.get("spending", {}).get("usd", 0.0)
        elif verb == "filter":
            usd += counts.get("judge_usd", 0.0)
        elif verb == "train":
            tokens += sum(counts.get("tokens", {}).values())
    return usd, tokens, sum(stage.get("seconds", 0.0) for stage in stages.values())


def of_one(scores: Mapping[str, Any], student: str) -> dict[str, Any] | None:
    """One student's headline in the shape of the gain over all, in the same mode."""
    whole = scores.get("gain")
    heads = {head["student"]: head for head in scores.get("headlines", [])}
    before, after = heads.get(f"{student}@base"), heads.get(student)
    if not whole or not before or not after:
        return None
    mode = whole["mode"]
    if not before[mode] or not after[mode] or not after[f"{mode}_gain"]:
        return None
    return {
        "mode": mode,
        "students": [student],
        "n": after[f"{mode}_gain"]["n"],
        "gain": after[f"{mode}_gain"],
        **_interval("untrained", before[mode]),
        **_interval("trained", after[mode]),
    }


def _interval(name: str, score: Mapping[str, Any]) -> dict[str, float]:
    return {name: score["accuracy"], f"{name}_low": score["low"], f"{name}_high": score["high"]}


def gain_text(gain: Mapping[str, Any]) -> str:
    text = points(gain["difference"])
    return f"{text} ({_bound(gain['low'])} to {_bound(gain['high'])})" if gain["high"] - gain["low"] > 1e-9 else text
