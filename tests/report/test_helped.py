from qrdistill.report.helped import of_scores

STAGES = {
    "generate": {"counts": {"spending": {"usd": 1.0}}, "seconds": 400.0},
    "filter": {"counts": {"judge_usd": 0.2}, "seconds": 100.0},
    "train": {"counts": {"tokens": {"anna": 700_000, "ben": 500_000}}, "seconds": 340.0},
}


def scores(low=0.28, high=0.43):
    gain = {"difference": 0.355, "low": low, "high": high, "n": 200}
    shares = {"untrained": 0.12, "untrained_low": 0.08, "untrained_high": 0.17}
    shares |= {"trained": 0.475, "trained_low": 0.41, "trained_high": 0.54}
    return {"gain": {"mode": "styled", "students": ["anna", "ben"], "n": 200, "gain": gain, **shares}, "headlines": []}


def plain(text):
    return text.replace("\u202f", " ").replace("\u2212", "-")


def test_one_sentence_says_it():
    assert plain(of_scores(scores(), STAGES).sentence) == (
        "Untrained 12.0 %, trained 47.5 %: +35.5 (28 to 43) points on 200 questions, for $1.20, 1.2 M tokens and "
        "14 minutes."
    )


def test_a_gain_that_is_not_established_is_called_so():
    text = plain(of_scores(scores(low=-0.02), STAGES).sentence)
    assert "+35.5 (-2 to 43) points, which is not established, on 200 questions" in text
    assert "(" not in plain(of_scores(scores(0.355, 0.355), STAGES).sentence)  # no width, no interval


def test_a_run_without_a_base_says_why():
    stages = {"untrained": {"counts": {"why_not": "evaluate.base is false"}}}
    found = of_scores({"gain": None, "headlines": []}, stages)
    assert found.gain is None
    assert found.sentence == "What training has changed is not known: evaluate.base is false."
    assert "run the same command again" in of_scores({"headlines": []}, {}).sentence  # of an earlier version
