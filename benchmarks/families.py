"""Which causal families of the installed transformers are packed exactly, fall back exactly, or are refused.

    python benchmarks/families.py RESULTS.jsonl [--part 1/4] [--only mistral,phi3]     # families that stand there are skipped
    python benchmarks/families.py RESULTS.jsonl --table docs/families.md

Each family is made small with random weights and its windows on, loaded as a student, and its losses of paths longer
than every window, batched, are compared with the family's own forward of each path alone.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from qrdistill.base.errors import ModelError
from qrdistill.base.progress import Silent
from qrdistill.students.config import StudentConfig
from qrdistill.students.loading import load_student
from qrdistill.students.tokens import Encoded

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from conftest import make_tokenizer

SECONDS = 90  # per family
LENGTHS = (90, 21, 55, 8)  # tokens of the paths; windows are 16
SMALL = {  # what makes a config small, wherever it has the key
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "n_embed", "embedding_size", "word_embed_proj_dim"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "d_ff", "inner_dim"), 48),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"), 16),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "decoder_layers", "encoder_layers", "n_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "decoder_attention_heads", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "num_kv_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "n_kv_heads"), 2),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_top_k", "n_group", "topk_group"), 1),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length"), 256),
    **dict.fromkeys(("sliding_window", "attention_window_size", "attention_chunk_size", "keep_window_size"), 16),
    **dict.fromkeys(("head_dim", "attention_head_dim", "kv_channels", "qk_rope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("qk_nope_head_dim", "global_head_dim", "hidden_size_per_layer_input"), 8),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "rotary_dim", "hidden_per_layer"), 8),
    **dict.fromkeys(("lru_width", "state_size", "mamba_d_state", "ssm_state_size"), 32),
    "use_sliding_window": True,
    "first_k_dense_replace": 1,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LISTS = ("layer_types", "mlp_layer_types", "attention_layers", "no_rope_layers", "layers_block_type")


class TooSlow(Exception):
    pass


def shrunk(family: str, vocabulary: int) -> Any:
    """The family's config, small: keys that it knows, lists of layers cut to two; fewer changes where it refuses."""
    from transformers import AutoConfig

    plain: Any = AutoConfig.for_model(family)
    known = {key: value for key, value in SMALL.items() if key in plain.to_dict()}
    known["vocab_size"] = vocabulary
    for key in LISTS:
        if isinstance(kinds := getattr(plain, key, None), list) and kinds:
            known[key] = [*dict.fromkeys(map(str, kinds))][:2] if isinstance(kinds[0], str) else kinds[:2]
            known[key] += known[key][: 2 - len(known[key])]
    dropped = ("head_dim", "layer_types", "use_sliding_window", "num_key_value_heads")
    windowed = {"layer_types": ["sliding_attention", "full_attention"]}
    attempts = [(), dropped[:1], dropped[:2], dropped[:3], dropped]
    for more, leave_out in [*((windowed, each) for each in attempts[:2]), *(({}, each) for each in attempts)]:
        if more and not {"layer_types", "sliding_window"} <= set(plain.to_dict()):
            continue
        chosen = {key: value for key, value in {**known, **more}.items() if key not in leave_out}
        try:
            config: Any = AutoConfig.for_model(family, **chosen)
            model = build(config)
        except TooSlow:
            raise
        except Exception as error:
            problem = error
            continue
        return model
    raise problem


def build(config: Any) -> Any:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > 30_000_000:
        raise ValueError(f"still has {size / 1e6:.0f} million parameters")
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


@torch.no_grad()
def own_losses(model: Any, paths: list[Encoded]) -> torch.Tensor:
    losses: list[torch.Tensor] = []
    for path in paths:
        ids = torch.tensor([[*path.prompt_ids, *path.response_ids[:-1]]])
        logits = model(input_ids=ids, use_cache=False).logits[0, len(path.prompt_ids) - 1 :]
        losses.append(F.cross_entropy(logits.float(), torch.tensor(path.response_ids), reduction="sum"))
    return torch.stack(losses)


def tried(family: str) -> tuple[str, str]:
    """(outcome, remark) of one family."""
    tokenizer = make_tokenizer()
    try:
        model = shrunk(family, len(tokenizer))
    except TooSlow:
        raise
    except Exception as error:
        return "not shrunk", (str(error).splitlines() or [""])[0][:90]
    paths = []
    for number, length in enumerate(LENGTHS):
        ids = [5 + (7 * at * at + (3 + number) * at) % 300 for at in range(length)]
        paths.append(Encoded(tuple(ids[: length // 3]), tuple(ids[length // 3 :]), []))
    with tempfile.TemporaryDirectory() as folder:
        try:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            own = own_losses(model, paths)
            student = load_student(StudentConfig(name="s", model=folder), base_dir=Path("/"), progress=Silent())
        except ModelError as error:
            refused = "refused" if "reads ahead" in str(error) else "does not load"
            return refused, str(error).partition(": ")[2].replace(folder, "")[:90]
        except TooSlow:
            raise
        except Exception as error:
            return "does not run", f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:80]}"
        student.model.eval()
        with torch.no_grad():
            ours = student.forward(paths).nll_B
    way = "packed" if student.packed else "one by one" if student.alone else "padded"
    apart = float((ours - own).abs().max())
    wrong = not torch.allclose(ours, own, rtol=1e-3, atol=1e-3)
    windows = [key for key in ("sliding_window", "attention_chunk_size") if getattr(model.config, key, None)]
    remark = f"largest difference {apart:.1e} nats" + (f"; with {' and '.join(windows)}" if windows else "")
    return ("WRONG " if wrong else "") + way, remark


def sweep(results: Path, part: str, only: str) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    def stop(*_: object) -> None:
        raise TooSlow

    signal.signal(signal.SIGALRM, stop)
    done = {json.loads(line)["family"] for line in results.read_text().splitlines()} if results.exists() else set()
    index, of = map(int, part.split("/"))
    families = only.split(",") if only else sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)[index - 1 :: of]
    for family in families:
        if family in done:
            continue
        began = time.monotonic()
        signal.alarm(SECONDS)
        try:
            outcome, remark = tried(family)
        except TooSlow:
            outcome, remark = "not shrunk", f"takes more than {SECONDS} s"
        signal.alarm(0)
        with results.open("a") as file:
            file.write(json.dumps({"family": family, "outcome": outcome, "remark": remark}) + "\n")
        print(f"{family}: {outcome} ({remark}; {time.monotonic() - began:.1f} s)", flush=True)


def table(results: Path, page: Path) -> None:
    import transformers

    rows = sorted((json.loads(line) for line in results.read_text().splitlines()), key=lambda row: row["family"])
    counts = {
        name: sum(row["outcome"] == name for row in rows) for name in dict.fromkeys(row["outcome"] for row in rows)
    }
    counted = ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
    lines = [
        "# Model families",
        "",
        "Students of any causal family of transformers can be trained. How their batches are computed is chosen by a proof",
        "by trial when a student is loaded (`students/packing/proof.py`), and again with the pool's longest path before the",
        "first step: *packed* (no padding, a shared question once) where that changes no loss, *padded* by the family's own",
        "code where that changes none, *one by one* otherwise. A model that reads ahead is refused. Windows, chunks and the",
        "turning length of a longrope are shrunk below the trial's paths, so that short paths meet what long ones would.",
        "",
        f"The table is what `python benchmarks/families.py` found with transformers {transformers.__version__}: each family",
        "with random weights, two layers and its windows on, four paths of 8 to 90 tokens in one batch against the family's",
        f"own forward of each path alone. Of {len(rows)}: {counted}.",
        "",
        "*not shrunk*, *does not run*: the generic small config does not fit the family (many are the text part of a larger",
        "model, or need kernels that are not there); it says nothing about the real model, which is tried when it is loaded.",
        "",
        "| family | batches | remark |",
        "| --- | --- | --- |",
        *(f"| {row['family']} | {row['outcome']} | {row['remark'].replace('|', '/')} |" for row in rows),
        "",
    ]
    page.write_text("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--only", default="")
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    if given.table:
        table(given.results, given.table)
    else:
        sweep(given.results, given.part, given.only)
