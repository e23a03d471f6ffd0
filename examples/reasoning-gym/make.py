"""Makes what config.yaml beside this file names, from reasoning-gym's own worked solutions:

    paths.jsonl                  question_id, style, text: the data set's derivation in three styles
    models/llama, models/qwen    two tiny random models of different families

Run: python examples/reasoning-gym/make.py       (needs: pip install 'qrdistill[reasoning-gym]')
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))


def main() -> None:
    from make_model import make_model

    from qrdistill.base.records import Question
    from qrdistill.questions.load import load_questions
    from qrdistill.runs.load_config import load_config

    config = load_config(HERE / "config.yaml")
    questions: list[Question] = load_questions(config.questions, seed=config.seed, base_dir=HERE)
    train = [question for question in questions if question.split == "train"]
    rows = [
        {"question_id": question.id, "style": style, "text": text}
        for question in train
        for style, text in write_paths(question.metadata["entry"])
    ]
    (HERE / "paths.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    texts = [question.question for question in train] + [row["text"] for row in rows]
    make_model(HERE / "models/llama", "llama", texts, vocabulary=1000, seed=1, context=768)
    make_model(HERE / "models/qwen", "qwen", texts, vocabulary=1200, seed=2, context=768)
    print(f"wrote {len(rows)} paths for {len(train)} questions and two models to {HERE}")


def write_paths(entry: dict) -> Iterator[tuple[str, str]]:
    """The worked solution as it is; its last line alone; the stated quantities, then the last line."""
    worked = entry["metadata"]["answer_cot"].split("####")[0].strip()
    closing = f"The answer is {entry['answer']}."
    last = worked.splitlines()[-1].strip()
    given = [f"{name.replace('_', ' ')}: {value}" for name, value in entry["metadata"]["variables"].items()]
    yield "chain_of_thought", f"{worked}\n{closing}"
    yield "vanilla", f"{last}\n{closing}"
    yield "facts", "\n".join([*given, last, closing])


if __name__ == "__main__":
    main()
