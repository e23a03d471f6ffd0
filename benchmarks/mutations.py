"""Do the tests notice when a line of the core is wrong? `python benchmarks/mutations.py [--only TEXT] [--workers 2]`

Each mutant changes one line of a copy of the source and runs the tests that should object. It is *caught* where they
fail. The list is short on purpose: the lines that decide what students learn, what is paid, what is called right, and
what survives a kill. A tool that changes every line would take days, and its report would not be read.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = 300  # seconds; a mutant that hangs its tests is caught


@dataclass(frozen=True)
class Mutant:
    file: str  # below src/qrdistill
    line: str  # stands there exactly once
    wrong: str
    tests: str  # what should object, below tests/


LOSSES, STEP = "training/test_losses.py", "invariants/test_training_step.py"
MUTANTS = [
    # what students learn
    Mutant("training/losses.py", "return (paid / (num_targets", "return (paid * (num_targets", LOSSES),
    Mutant("training/losses.py", "0.0) * gates, 0.0)", "0.0), 0.0)", LOSSES),
    Mutant("training/losses.py", "0.0).sum() / gates_BS.shape[0]", "0.0).sum()", LOSSES),
    Mutant("training/losses.py", "gates_BS * signal_BS, 0.0)", "-gates_BS * signal_BS, 0.0)", LOSSES),
    Mutant("training/losses.py", ".sum() + math.log(soft_BS.shape[1])", ".sum()", LOSSES),
    Mutant("training/losses.py", "share_S = soft_BS.mean(0)", "share_S = soft_BS.mean(1)", LOSSES),
    Mutant("training/losses.py", "return -(soft_BS * soft_BS.clamp_min", "return (soft_BS * soft_BS.clamp_min", LOSSES),
    Mutant("training/losses.py", "(z_SKD - target_SKD.detach())", "(z_SKD - target_SKD)", "training"),
    Mutant("training/losses.py", "/ (z_SKD.shape[0] * num_spans)", "/ num_spans", LOSSES),
    Mutant("training/losses.py", "(-nll_BS.detach() / temperature)", "(nll_BS.detach() / temperature)", LOSSES),
    Mutant("training/optimizers.py", "(step + 1) / config.warmup", "step / config.warmup", "training"),
    Mutant("training/optimizers.py", "0.5 * (1 + math.cos", "0.5 * (1 - math.cos", "training"),
    Mutant(
        "training/optimizers.py",
        "clip_grad_norm_(gradients, self.clip)",
        "clip_grad_norm_(gradients, 1e9)",
        "training invariants/test_training_step.py",
    ),
    Mutant(
        "training/methods/hidden_agreement.py",
        "(raw_KD - mean_D.to(raw_KD))",
        "(raw_KD + mean_D.to(raw_KD))",
        "training/test_hidden_agreement.py",
    ),
    Mutant(
        "training/methods/hidden_agreement.py",
        "self._logits(z_SKD.detach(), owner_K",
        "self._logits(z_SKD, owner_K",
        "training/test_hidden_agreement.py invariants/test_training_step.py",
    ),
    Mutant("training/data.py", ">= style_dropout", "< style_dropout", "training/test_data.py invariants"),
    Mutant(
        "training/methods/hidden_agreement.py",
        "max(1, round(share * len(path_ids)))",
        "round(share * len(path_ids))",
        "training",
    ),
    Mutant(
        "students/head.py",
        "pieces = zip(states_NH.split(rows), labels_N.split(rows)",
        "pieces = zip(states_NH.split(rows), labels_N.flip(0).split(rows)",
        "students",
    ),
    Mutant(
        "students/student.py",
        "pieces = [rows[1:] for",
        "pieces = [rows[:-1] for",
        "students training/test_hidden_agreement.py invariants/test_training_step.py",
    ),
    Mutant(
        "students/student.py",
        'kind="stable")',
        'kind="stable")[::-1].copy()',
        "students invariants/test_training_step.py",
    ),
    Mutant("students/student.py", "path.response_ids[:-1])", "path.response_ids)", "students"),
    # who reads what
    Mutant(
        "routing/router.py",
        "chosen_BS + (relaxed_BS - relaxed_BS.detach())",
        "chosen_BS + 0 * (relaxed_BS - relaxed_BS.detach())",
        "routing/test_router.py",
    ),
    Mutant(
        "routing/router.py",
        "((logits_BS + noise_BS) / temperature)",
        "((logits_BS - noise_BS) / temperature)",
        "routing/test_router.py",
    ),
    Mutant(
        "routing/router.py",
        "first * (last / first) ** progress",
        "first + (last - first) * progress",
        "routing/test_router.py",
    ),
    Mutant(
        "routing/loss_ledger.py",
        "((nll_BS - mean_S) / self.spread_S)",
        "((mean_S - nll_BS) / self.spread_S)",
        "routing",
    ),
    Mutant(
        "routing/loss_ledger.py", "torch.where(known_BS, nll_BS, 0.0)", "torch.where(known_BS, nll_BS, 1.0)", "routing"
    ),
    Mutant("routing/loss_ledger.py", "self._sums_3S * _DECAY + fresh_3S", "self._sums_3S + fresh_3S", "routing"),
    Mutant(
        "routing/gates.py",
        "torch.where(rows_B1, value_BS, gates.hard_BS)",
        "torch.where(~rows_B1, value_BS, gates.hard_BS)",
        "routing",
    ),
    Mutant(
        "base/draws.py",
        "-math.log(-math.log(uniform(*keys)))",
        "math.log(-math.log(uniform(*keys)))",
        "base/test_draws.py",
    ),
    # what is sound
    Mutant(
        "verdicts/judges/votes.py",
        "2 * sound > total, 2 * spurious > total",
        "2 * sound >= total, 2 * spurious > total",
        "verdicts/test_votes.py",
    ),
    Mutant(
        "verdicts/judges/votes.py",
        "keep, drop = sound == total, spurious >= 1",
        "keep, drop = sound >= 1, spurious >= 1",
        "verdicts/test_votes.py",
    ),
    Mutant("verdicts/judges/votes.py", 'else "undecided"', 'else "keep"', "verdicts/test_votes.py"),
    Mutant("verdicts/filter.py", "if question_id in seen:", "if False:", "verdicts invariants/test_filter.py"),
    Mutant(
        "verdicts/filter.py",
        "waiting = [case for case in window if case.open]",
        "waiting = list(window)",
        "verdicts invariants/test_filter.py",
    ),
    Mutant(
        "verdicts/counts.py",
        'self.undecided + (outcome == "undecided")',
        "self.undecided",
        "verdicts invariants/test_filter.py",
    ),
    # what is right, and by how much
    Mutant("base/statistics.py", "centre - half  #", "centre + half  #", "scores/test_statistics.py"),
    Mutant(
        "base/statistics.py",
        "centre = (p + z * z / (2 * n)) / spread",
        "centre = p / spread",
        "scores/test_statistics.py",
    ),
    Mutant("base/statistics.py", "if x and not y)", "if x or not y)", "scores/test_statistics.py"),
    Mutant(
        "scores/ensemble.py", "totals.get(ballot.answer, 0.0) + weight", "totals.get(ballot.answer, 0.0) + 1", "scores"
    ),
    Mutant("scores/ensemble.py", "if ballot.answer is not None:", "if True:", "scores"),
    # what is paid, and what survives a kill
    Mutant("base/store.py", "            _sync(path)\n", "            pass\n", "base runs"),
    Mutant("base/store.py", "        _sync(target.parent)\n", "", "base runs"),
    Mutant(
        "llm/live_counts.py",
        "self.spent_tokens >= self.tokens",
        "self.spent_tokens > self.tokens",
        "llm/test_budget.py",
    ),
    Mutant(
        "llm/live_counts.py",
        "round(self.spent_usd, 9) >= self.usd",
        "round(self.spent_usd, 9) > self.usd",
        "llm/test_budget.py",
    ),
    Mutant("runs/work.py", "0 and not config.own", "0 and config.own", "runs/test_rounds.py"),
    Mutant(
        "runs/manifest.py",
        "self._finished(stage, key) and all(",
        "self._finished(stage, key) or all(",
        "runs/test_pipeline.py",
    ),
    Mutant(
        "training/saved/checkpoint.py",
        ' and facts["fingerprint"] == fingerprint',
        "",
        "invariants/test_training_runs.py",
    ),
    # own paths
    Mutant(
        "own_paths/sample.py",
        "frozenset({path.teacher}) | (others - has[path.question_id])",
        "frozenset(students)",
        "own_paths/test_own_paths.py",
    ),
    Mutant(
        "own_paths/sample.py",
        "            allowed[path.id] = frozenset({path.teacher})\n",
        "            allowed[path.id] = frozenset(students)\n",
        "own_paths/test_own_paths.py",
    ),
    Mutant("own_paths/sample.py", "count >= min_share * votes.total()", "count > 0", "own_paths/test_own_paths.py"),
    Mutant("own_paths/guard.py", "self.kept >= LEAST", "self.kept > LEAST", "own_paths/test_guard.py"),
    Mutant("students/best_style.py", "best if better", "best if best", "students/test_best_style.py"),
    Mutant("students/best_style.py", "(len(trials) - 1)", "1", "students/test_best_style.py"),
    Mutant("students/best_style.py", "most = max(trial.right", "most = min(trial.right", "students/test_best_style.py"),
    Mutant("students/best_style.py", "min(tied, key=lambda", "max(tied, key=lambda", "students/test_best_style.py"),
    # the methods' terms, and what the router knows
    Mutant(
        "training/methods/routed_imitation.py",
        "-self.config.entropy)",
        "self.config.entropy)",
        "training/test_terms.py",
    ),
    Mutant(
        "training/methods/routed_imitation.py",
        "self.config.balance)",
        "-self.config.balance)",
        "training/test_terms.py",
    ),
    Mutant("training/step.py", "(team.loss_scale * loss).backward()", "(2 * team.loss_scale * loss).backward()", STEP),
    Mutant("training/step.py", "nll_BS / batch.characters_B[:, None]", "nll_BS", STEP),
    Mutant(
        "routing/learning_state.py", "request.step - fresh)", "request.step + fresh)", "routing/test_learning_state.py"
    ),
    Mutant("routing/learning_state.py", ") & counts_B[:, None]", ")", "routing/test_learning_state.py"),
    Mutant(
        "routing/loss_predictor.py",
        "_FORGET * self.precision_SDD[s] + x_BD_s.T",
        "self.precision_SDD[s] + x_BD_s.T",
        "routing/test_loss_predictor.py",
    ),
    Mutant(
        "routing/loss_predictor.py",
        "x_BD @ weights_D + total_S[s] / count_S[s]",
        "x_BD @ weights_D",
        "routing/test_loss_predictor.py",
    ),
]


def survives(mutant: Mutant) -> str | None:
    """Why a mutant was not caught; None where it was."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "src"
        shutil.copytree(ROOT / "src", copy)
        file = copy / "qrdistill" / mutant.file
        text = file.read_text("utf-8")
        if text.count(mutant.line) != 1:
            return f"the line stands there {text.count(mutant.line)} times; mend the list"
        file.write_text(text.replace(mutant.line, mutant.wrong), "utf-8")
        tests = [str(ROOT / "tests" / test) for test in mutant.tests.split()]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "--timeout",
            str(LIMIT),
            *tests,
        ]
        environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=2 * LIMIT, text=True)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode > 1:
            return f"the tests did not run: {done.stdout[-300:]}"
        return None if done.returncode == 1 else "every test passed"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="", help="mutants whose file or line contains this text")
    options.add_argument("--workers", type=int, default=2)
    asked = options.parse_args()
    chosen = [mutant for mutant in MUTANTS if asked.only in mutant.file + mutant.line]
    begun, lost = time.monotonic(), 0
    with ThreadPoolExecutor(asked.workers) as pool:
        for mutant, reason in zip(chosen, pool.map(survives, chosen), strict=True):
            lost += reason is not None
            print(f"{'caught  ' if reason is None else 'SURVIVED'} {mutant.file}: {mutant.wrong.strip()}", flush=True)
            if reason:
                print(f"         {reason}", flush=True)
    caught = len(chosen) - lost
    print(f"{caught} of {len(chosen)} caught ({caught / len(chosen):.0%}), {time.monotonic() - begun:.0f} s")
    sys.exit(caught < 0.95 * len(chosen))


if __name__ == "__main__":
    main()
