"""What training and decoding reach on one GPU: tokens/s, share of its peak, memory, beside transformers and TRL.

    python benchmarks/gpu.py                             three shapes on the GPU that is here
    python benchmarks/gpu.py --shapes Qwen3-0.6B --steps 20
    python benchmarks/gpu.py --tiny --device cpu         the script itself, in seconds

Random weights of real shapes; words are tokens, so all arms read the very same paths, and tokens are those of prompts
and paths, without padding, each prompt counted with every path. Model FLOPs a token: 6 per weight (embedding and head once
where they are tied) and 6 x layers x width of all heads x mean length for causal attention; recomputation is not counted.
bfloat16 by autocast, float32 weights, fused AdamW, clipping. Prints one table and one line of JSON.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import tiny
import torch
from gpu_arms import Bench, Row, decoding, joint, ours, plain, trl

from qrdistill.students.config import LoraSettings

SHAPES: dict[str, dict[str, Any]] = {
    "SmolLM2-135M": {"model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536}
    | {"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64},
    "SmolLM2-360M": {"model_type": "llama", "vocab_size": 49152, "hidden_size": 960, "intermediate_size": 2560}
    | {"num_hidden_layers": 32, "num_attention_heads": 15, "num_key_value_heads": 5, "head_dim": 64},
    "Qwen3-0.6B": {"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072}
    | {"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128},
}
TINY = {"model_type": "qwen3", "vocab_size": tiny.VOCABULARY, "hidden_size": 32, "intermediate_size": 64} | {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}


def measured(bench: Bench) -> list[Row]:
    """All rows of one shape; what cannot be had here says so in its note."""
    seconds: dict[int, float] = {}
    rows = [
        bench.row("full, packed", lambda: ours(bench, shared=False)),
        bench.row("full, packed, shared prefix", lambda: ours(bench, shared=True)),
        bench.row("transformers + SDPA, padded", lambda: plain(bench)),
        bench.row("FSDP2, one rank", lambda: ours(bench, shared=False, cut=True)),
        bench.row("train, one student", lambda: joint(bench, 1, seconds)),
        bench.row("train, two students", lambda: joint(bench, 2, seconds)),
        bench.row("decoding", lambda: decoding(bench), whole=False),
    ]
    if 2 in seconds and 1 in seconds:
        rows[5]["note"] = f"a step takes {seconds[2] / seconds[1]:.2f} times one student's; goal 1.1"
    for what, package, make in (
        ("TRL, padded", "trl", lambda: trl(bench)),
        ("NF4 + LoRA 16", "bitsandbytes", lambda: ours(bench, shared=False, quantize="nf4", lora=LoraSettings())),
    ):
        there = importlib.util.find_spec(package) is not None
        none = {"shape": bench.name, "what": what, "note": f"{package} is not installed"}
        rows.append(bench.row(what, make, whole=package == "trl") if there else none)
    return rows


def count_kernel_calls() -> list[int]:
    """[how often torch's variable-length kernel has been called]; empty where this torch has none."""
    try:
        from torch.nn.attention import varlen
    except ImportError:
        return []
    calls, kernel = [0], varlen.varlen_attn

    @functools.wraps(kernel)  # the engine reads its signature
    def counted(*given: Any, **more: Any) -> Any:
        calls[0] += 1
        return kernel(*given, **more)

    varlen.varlen_attn = counted
    return calls


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--steps", type=int, default=10, help="that are timed")
    parser.add_argument("--paths", type=int, default=96, help="of a step, six to a question")
    parser.add_argument("--tokens", type=int, default=16384, help="of one forward")
    parser.add_argument("--tiny", action="store_true", help="two layers of width 32, short paths, two steps")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("no GPU is here; `--tiny --device cpu` runs the script itself", file=sys.stderr)
        return 2
    if options.tiny:
        options.steps, options.paths, options.tokens = 2, 12, 512
    warnings.simplefilter("ignore")
    backend = "nccl" if options.device.startswith("cuda") else "gloo"
    torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)
    calls, rows = count_kernel_calls(), list[Row]()
    with tempfile.TemporaryDirectory() as place:
        for name, shape in ({"tiny": TINY} if options.tiny else SHAPES).items():
            if options.tiny or name in options.shapes.split(","):
                rows += measured(Bench(name, shape, options, Path(place)))
    torch.distributed.destroy_process_group()
    gpu = torch.cuda.get_device_name() if options.device.startswith("cuda") else "none"
    facts = {"gpu": gpu, "torch": torch.__version__, "varlen_kernel": bool(sum(calls)), "rows": rows}
    print(f"GPU: {gpu}; torch {torch.__version__}; variable-length kernel used: {'yes' if sum(calls) else 'no'}")
    print("| shape | | tokens/s | MFU | peak GiB | |\n| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        rate, mfu, peak = (row.get(key) for key in ("tokens_per_s", "mfu", "peak_gib"))
        cells = [f"{rate:,}" if rate else "", f"{mfu:.1%}" if mfu else "", f"{peak:.1f}" if peak else ""]
        print(f"| {row['shape']} | {row['what']} | {' | '.join(cells)} | {row.get('note', '')} |")
    print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
