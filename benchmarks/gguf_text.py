"""Does a student's GGUF file write what the student writes? Greedy texts, token by token, against transformers.

    python benchmarks/gguf_text.py RUN [STUDENT...] --llama-python ENV/bin/python    every student of a run
    python benchmarks/gguf_text.py --model FOLDER --llama-python ENV/bin/python      any model folder

llama-cpp-python may live in an environment of its own. Both sides get the question as text (a prompt through the
chat template), so tokenizer, template, stop tokens and weights are all compared. transformers runs on the same 16-bit
weights. A text that differs is shown with the margin between the two likeliest tokens where they part: llama.cpp rounds
activations to 16 bits too, so ties may fall to the other side.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

_LLAMA = """
import json, sys
import llama_cpp
file, source = sys.argv[1:]
asked = json.load(open(source))
model = llama_cpp.Llama(file, n_ctx=2048, verbose=False, logits_all=False)
stops = {model.token_eos()} | set(asked["stop_ids"])
out = []
for prompt in asked["prompts"]:
    ids = model.tokenize(prompt.encode(), add_bos=asked["add_bos"], special=True)
    model.reset()
    written = []
    for token in model.generate(ids, temp=0.0, repeat_penalty=1.0):
        if token in stops or len(written) >= asked["max_tokens"]:
            break
        written.append(token)
    out.append({"prompt": ids, "written": written, "text": model.detokenize(written).decode(errors="replace")})
print("RESULT" + json.dumps(out))
"""


def questions_of(run_dir: Path, count: int) -> list[str]:
    from qrdistill.paths.styles import resolve_styles, student_prompt
    from qrdistill.runs.run import Run

    run = Run(run_dir)
    styles = list(resolve_styles(run.config.paths.styles).values())
    asked = [row.question for row in run.questions() if row.split == "test"][:count]
    return [student_prompt(question, styles[at % len(styles)]) for at, question in enumerate(asked)]


def ours(folder: Path, prompts: list[str], max_tokens: int) -> tuple[list[dict[str, Any]], Any, Any]:
    """Greedy completions of the folder's model, its weights rounded to 16 bits, computed in 32."""
    from qrdistill.students.config import StudentConfig
    from qrdistill.students.loading import load_student

    student = load_student(StudentConfig(name="student", model=str(folder)), base_dir=Path("/"))
    student.model.eval()
    with torch.no_grad():
        for parameter in student.model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(parameter.half().float())
    codec, out = student.codec, []
    for prompt in prompts:
        ids = torch.tensor([codec.prompt_ids(prompt)])
        with torch.no_grad():
            done = student.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_tokens,
                do_sample=False,
                eos_token_id=sorted(codec.stop_ids),
                output_scores=True,
                return_dict_in_generate=True,
            )
        written = done.sequences[0, ids.shape[1] :].tolist()
        margins = [float(torch.diff(scores[0].topk(2).values.flip(0))) for scores in done.scores]
        while written and written[-1] in codec.stop_ids:
            written.pop()
        out.append({"prompt": ids[0].tolist(), "written": written, "text": codec.decode(written), "margins": margins})
    return out, codec, student.tokenizer


def compare(folder: Path, gguf: Path, prompts: list[str], python: str, max_tokens: int) -> dict[str, Any]:
    mine, codec, tokenizer = ours(folder, prompts, max_tokens)
    texts = [codec.prompt_text(prompt) for prompt in prompts]
    first = tokenizer("a")["input_ids"][:1]
    asked = {
        "prompts": texts,
        "stop_ids": sorted(codec.stop_ids),
        "add_bos": not codec.has_template and first == [tokenizer.bos_token_id],
        "max_tokens": max_tokens,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as source:
        json.dump(asked, source)
        source.flush()
        result = subprocess.run([python, "-c", _LLAMA, str(gguf), source.name], capture_output=True, text=True)
    line = next((line for line in result.stdout.splitlines() if line.startswith("RESULT")), None)
    if line is None:
        sys.exit(f"{gguf} did not run in llama.cpp:\n{result.stderr[-2000:]}")
    theirs = json.loads(line.removeprefix("RESULT"))
    for at, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        if a["prompt"] != b["prompt"]:
            print(f"  prompt {at} is cut otherwise: {a['prompt'][:20]} / {b['prompt'][:20]}")
        elif a["written"] != b["written"]:
            place = next(
                (i for i, (x, y) in enumerate(zip(a["written"], b["written"], strict=False)) if x != y),
                min(len(a["written"]), len(b["written"])),
            )
            print(f"  text {at} parts at token {place}, margin {a['margins'][place]:.4f} nats")
    same = sum(a["written"] == b["written"] for a, b in zip(mine, theirs, strict=True))
    cut = sum(a["prompt"] == b["prompt"] for a, b in zip(mine, theirs, strict=True))
    return {"prompts": len(prompts), "same_tokens_in": cut, "same_text": same, "first": mine[0]["text"][:160]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("students", nargs="*")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--llama-python", default=sys.executable)
    parser.add_argument("--type", default="f16")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--max-tokens", type=int, default=120)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.model is not None:
            from qrdistill.students.config import StudentConfig
            from qrdistill.students.export import export_student
            from qrdistill.students.exports.gguf_file import write_gguf
            from qrdistill.students.loading import load_student

            config = StudentConfig(name=options.model.name, model=str(options.model.resolve()), frozen=True)
            student = load_student(config, base_dir=Path("/"))
            folder = export_student(student, Path(scratch, "out"))
            file = Path(scratch, "model.gguf")
            stops = sorted(student.codec.stop_ids)
            write_gguf(folder, file, options.type, name=config.name, stop_ids=stops, end_id=student.codec.end_id)
            prompts = [
                "Ann has 3 apples and buys 4 more. How many apples does she have now?\nThink step by step.\n",
                "A train leaves at 12:45 and arrives at 15:10. How long does it take?\n",
                "Write a short story about 1234567 sheep, a dog & naïve Zoë.\n",
                "What is the capital of France?\n",
                "List three prime numbers:\n\n1.",
                "def fibonacci(n):\n    if n < 2:\n",
            ][: options.questions]
            print(options.model, json.dumps(compare(folder, file, prompts, options.llama_python, options.max_tokens)))
            return
        if options.run is None:
            parser.error("name a run, or --model FOLDER")
        from qrdistill.runs.leaving.export import export_from_run

        names = options.students or sorted(path.name for path in (options.run / "students").iterdir())
        for name in names:
            done = export_from_run(options.run, name, Path(scratch, name), gguf=options.type)
            file = done.folder / f"{name}-{options.type}.gguf"
            prompts = questions_of(options.run, options.questions)
            found = compare(done.folder, file, prompts, options.llama_python, options.max_tokens)
            print(options.run, name, json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
