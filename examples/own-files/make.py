"""Makes everything that config.yaml beside this file names, as a user would bring it:

    questions.jsonl   id, split, question, gold         ("Which is heavier, a horse or a cat?")
    paths.jsonl       question_id, style, text          ready reasoning paths, some of them wrong
    models/llama      a Hugging Face folder: a tiny random Llama with its own tokenizer
    models/qwen       the same with Qwen2 and another tokenizer

Run: python examples/own-files/make.py        (seconds; needs nothing but qrdistill's own installation)
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
KILOGRAMS = {
    "mouse": 0.02,
    "robin": 0.03,
    "frog": 0.2,
    "rat": 0.4,
    "duck": 1,
    "hen": 2,
    "cat": 4,
    "fox": 7,
    "goose": 6,
    "beaver": 20,
    "wolf": 40,
    "goat": 50,
    "sheep": 70,
    "deer": 90,
    "lion": 180,
    "pony": 200,
    "bear": 300,
    "horse": 500,
    "cow": 700,
    "rhino": 2000,
    "elephant": 5000,
}


def main() -> None:
    from make_model import make_model

    draw = random.Random(7)
    pairs = list(itertools.combinations(KILOGRAMS, 2))
    draw.shuffle(pairs)
    questions, paths = [], []
    for number, (first, second) in enumerate(pairs):
        if draw.random() < 0.5:
            first, second = second, first
        split = "train" if number < 140 else "dev" if number < 160 else "test"
        heavier = max(first, second, key=KILOGRAMS.__getitem__)
        identity = f"heavier-{number + 1}"
        questions.append(
            {
                "id": identity,
                "split": split,
                "question": f"Which is heavier, a {first} or a {second}?",
                "gold": heavier,
            }
        )
        if split == "train":
            paths += [{"question_id": identity, **path} for path in write_paths(first, second, draw)]
    write_jsonl(HERE / "questions.jsonl", questions)
    write_jsonl(HERE / "paths.jsonl", paths)
    texts = [row["question"] for row in questions] + [row["text"] for row in paths]
    make_model(HERE / "models/llama", "llama", texts, vocabulary=476, seed=1)
    make_model(HERE / "models/qwen", "qwen", texts, vocabulary=556, seed=2)
    print(f"wrote {len(questions)} questions, {len(paths)} paths and two models to {HERE}")


def write_paths(first: str, second: str, draw: random.Random) -> list[dict[str, str]]:
    """One path per style; every sixth names the wrong animal, as teachers do now and then."""
    one, two = KILOGRAMS[first], KILOGRAMS[second]
    heavier, lighter = (first, second) if one > two else (second, first)
    facts = f"A {first} weighs about {one} kg. A {second} weighs about {two} kg."
    written = []
    for style in ("vanilla", "chain_of_thought", "facts"):
        said = lighter if draw.random() < 1 / 6 else heavier
        text = {
            "vanilla": f"The answer is {said}.",
            "chain_of_thought": f"Compare {one} kg with {two} kg.\nThe larger is the {said}.\nThe answer is {said}.",
            "facts": f"{facts}\nThe answer is {said}.",
        }[style]
        written.append({"style": style, "text": text})
    return written


def write_jsonl(file: Path, rows: list[dict[str, str]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
