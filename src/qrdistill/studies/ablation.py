"""`study ablation`: every part off one at a time, beside every plain baseline, tuned alike if asked."""

from __future__ import annotations

from qrdistill.report.study_results import StudyResults
from qrdistill.studies.grid.arms import baselines, by_name, choose, parts
from qrdistill.studies.grid.page import finish
from qrdistill.studies.grid.study import Setup, variants
from qrdistill.studies.grid.summary import run_conditions

# What is compared with what, and the question that it answers.
QUESTIONS = (
    ("all-answer", "all-unfiltered", "What does the answer filter add?"),
    ("all", "all-answer", "What does the judge add to the answer filter?"),
    ("learned", "random", "Does learned routing beat random routing?"),
    ("learned", "all", "Does learned routing beat everything for everyone, at equal compute?"),
    ("learned", "fixed-loss", "Does learned routing beat a fixed split by base loss?"),
    ("learned", "style-split", "Does learned routing beat a hand-made style split?"),
    ("learned", "best-single", "Does learned routing beat the best single style per student?"),
    ("learned", "best-style", "Does learned routing beat each student's best style, chosen before training?"),
    ("best-own", "best-style", "Do own verified paths help a student in its best style?"),
    ("learned", "learned-unfiltered", "What does the filter add to learned routing?"),
    ("learned-mutual", "learned", "Does mutual distillation help?"),
    ("learned", "learned-blind", "Does the learning state help the router?"),
    ("learned", "learned-unbalanced", "Does the balance term help?"),
)


def ablation(setup: Setup) -> StudyResults:
    """Every part off, one at a time, beside every plain baseline. Writes study.json and report.html.

    Other arms (those of `arms.extensions`) are run where they are named.
    """
    every = by_name(setup.config)
    wanted = setup.arms or [arm.name for arm in (*baselines(setup.config), *parts(setup.config))]
    result = setup.results(StudyResults, "ablation", "Ablation", "What does each part of the method add, and to what?")
    arms = choose(list(every.values()), wanted)
    return finish(setup, run_conditions(setup, result, variants(setup.config), arms, QUESTIONS))
