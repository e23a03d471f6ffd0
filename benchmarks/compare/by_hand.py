"""The job of config.yaml without qrdistill: distilabel asks, we check, TRL trains, lm-eval measures.

    LOCAL_KEY=any python by_hand.py QUESTIONS.jsonl OUT MODEL_FOLDER... [--until paths]

Needs distilabel[openai], trl and lm-eval beside transformers and datasets.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import yaml

STYLES = {  # style -> (what the teacher is asked, what the student is told)
    "chain_of_thought": (
        "Solve the problem step by step: one short step per line, each with its calculation written out "
        "and each following from the ones before.",
        "Think step by step.",
    ),
    "program": (
        "Write a short Python program that computes the answer from the numbers in the problem and "
        "prints it. Use variable names that say what each number is, and the standard library only. "
        "Then state what it prints.",
        "Write a program.",
    ),
}
CLOSING = "End with: The answer is N."
PRICE = (1.0, 2.0)  # dollars per million tokens, in and out


def ask(questions: list[dict[str, Any]], out: Path) -> list[dict[str, Any]]:
    """One path per question and style, cached by distilabel in batches."""
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    rows = [
        {"question_id": row["id"], "style": style, "gold": row["gold"], "question": row["question"]}
        | {"instruction": f"{row['question']}\n\n{instruction}\n{CLOSING}"}
        for row in questions
        for style, (instruction, _) in STYLES.items()
    ]
    with Pipeline(name="by-hand", cache_dir=out / "distilabel") as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=8)
        model = OpenAILLM(
            model="lab",
            base_url="http://127.0.0.1:8765/v1",
            api_key=os.environ["LOCAL_KEY"],
            generation_kwargs={"max_new_tokens": 300, "temperature": 0.8},
        )
        load >> TextGeneration(llm=model, input_batch_size=8)
    paths = list(pipeline.run(use_cache=True)["default"]["train"])
    logging.getLogger().handlers.clear()  # distilabel's handler outlives its queue, and each later line is a traceback
    if len(paths) < len(rows):  # Ctrl-C returns what there is, as if that were all
        raise SystemExit(f"stopped at {len(paths)} of {len(rows)} paths")
    return paths


def answer(text: str | None) -> float | None:
    found = re.findall(r"answer is:?\s*\$?(-?[\d,]*\.?\d+)", text or "", re.IGNORECASE)
    return float(found[-1].replace(",", "")) if found else None


def keep(paths: list[dict[str, Any]], out: Path) -> list[dict[str, Any]]:
    """The paths whose answer is right, once each; the rest with a reason, for later questions."""
    kept: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    seen: set[tuple[str, str]] = set()
    tokens = [0, 0]
    for path in paths:
        usage = (path["distilabel_metadata"] or {}).get("statistics_text_generation_0") or {}
        tokens[0] += usage.get("input_tokens") or 0
        tokens[1] += usage.get("output_tokens") or 0
        text = path["generation"]
        reason = ""
        if answer(text) is None:
            reason = "no answer found"
        elif answer(text) != float(path["gold"]):
            reason = "wrong answer"
        elif (path["question_id"], text) in seen:
            reason = "a copy"
        seen.add((path["question_id"], text))
        row = {name: path[name] for name in ("question_id", "style", "question", "generation")}
        (dropped if reason else kept).append(row | {"reason": reason})
    (out / "kept.json").write_text(json.dumps(kept, indent=1))
    (out / "dropped.json").write_text(json.dumps(dropped, indent=1))
    dollars = sum(number * price for number, price in zip(tokens, PRICE, strict=True)) / 1e6
    print(f"kept {len(kept)}, dropped {len(dropped)}; {tokens} tokens, {dollars:.6f} dollars")
    return kept


def train(folder: str, kept: list[dict[str, Any]], out: Path) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [
        {"prompt": f"{row['question']}\n{STYLES[row['style']][1]}\n", "completion": row["generation"]} for row in kept
    ]
    config = SFTConfig(
        output_dir=str(out / "checkpoints"),
        max_steps=40,
        per_device_train_batch_size=16,
        learning_rate=1e-3,
        adam_beta2=0.95,
        weight_decay=0.0,
        lr_scheduler_type="cosine",
        warmup_steps=20,
        max_length=512,
        completion_only_loss=True,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        fp16=False,
        gradient_checkpointing=False,
        seed=0,
    )
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    trainer = SFTTrainer(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    trainer.train()
    trainer.save_model(str(out))
    (out / "log.json").write_text(json.dumps(trainer.state.log_history))


def tasks(questions: list[dict[str, Any]], out: Path) -> None:
    """One lm-eval task per style."""
    folder = out / "tasks"
    folder.mkdir(exist_ok=True)
    test = folder / "test.jsonl"
    test.write_text("".join(json.dumps(row) + "\n" for row in questions))
    number = {"function": "regex", "regex_pattern": r"answer is:?\s*\$?(-?[\d,]*\.?\d+)", "group_select": -1}
    for style, (_, hint) in STYLES.items():
        task = {
            "task": f"lab_{style}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(test.resolve())}},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": "{{question}}\n" + hint + "\n",
            "doc_to_target": "{{gold}}",
            "target_delimiter": "",
            "generation_kwargs": {"until": ["<eos>"], "do_sample": False, "max_gen_toks": 120},
            "filter_list": [{"name": "number", "filter": [number, {"function": "take_first"}]}],
            "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        }
        (folder / f"lab_{style}.yaml").write_text(yaml.safe_dump(task))


def evaluate(folder: str, out: Path) -> dict[str, Any]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": folder, "dtype": "float32", "max_length": 512},
        tasks=[f"lab_{style}" for style in STYLES],
        batch_size=30,
        device="cpu",
        task_manager=TaskManager(include_path=str(out / "tasks"), include_defaults=False),
    )
    assert found
    return {"results": found["results"], "samples": found["samples"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("questions", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--until", default="scores")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    questions = [json.loads(line) for line in options.questions.read_text().splitlines()]
    kept = keep(ask([row for row in questions if row["split"] == "train"], out), out)
    if options.until == "paths":
        return
    tasks([row for row in questions if row["split"] == "test"], out)
    for model in options.models:
        name = Path(model).name
        train(model, kept, out / name)
        for label, folder in (("untrained", model), ("trained", str(out / name))):
            found = evaluate(folder, out)
            (out / f"{name}-{label}.json").write_text(json.dumps(found, default=str))
            print(name, label, {task: float(scores["exact_match,number"]) for task, scores in found["results"].items()})


if __name__ == "__main__":
    main()
