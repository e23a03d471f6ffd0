"""How long paths are in a student's own tokens, from the texts that are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qrdistill.students.config import StudentConfig
from qrdistill.students.find_model import find_model
from qrdistill.students.tokens import Codec, Unencodable


@dataclass(frozen=True)
class Lengths:
    """Means, in tokens. spread: standard deviation of prompt and path together. basis: how they were found."""

    prompt: float
    path: float
    spread: float = 0.0
    basis: str = "guessed"

    @property
    def longest(self) -> float:
        """About that of the longest that are kept: the very longest ones are mostly wrong."""
        return self.whole + 2 * self.spread

    @property
    def whole(self) -> float:
        return self.prompt + self.path


def measure_lengths(
    student: StudentConfig, base_dir: Path, pairs: Sequence[tuple[str, str]], guess: Lengths
) -> Lengths:
    """Of (prompt, path) texts by the student's tokenizer; `guess` where there are none, or no tokenizer here."""
    source = Path(find_model(student.model, base_dir))
    if not pairs or not source.is_dir():
        return guess
    from qrdistill.students.loading import load_tokenizer

    codec = Codec(load_tokenizer(str(source), student), name=student.name)
    prompts: list[int] = []
    paths: list[int] = []
    for prompt, response in pairs:
        try:
            encoded = codec.encode(prompt, response)
        except Unencodable:
            continue
        prompts.append(len(encoded.prompt_ids))
        paths.append(encoded.num_targets)
    if not paths:
        return guess
    count = len(paths)
    whole = [prompt + path - 1 for prompt, path in zip(prompts, paths, strict=True)]
    mean = sum(whole) / count
    spread = (sum((each - mean) ** 2 for each in whole) / count) ** 0.5
    return Lengths(sum(prompts) / count, sum(paths) / count, spread, f"{count} of the paths by its own tokenizer")
