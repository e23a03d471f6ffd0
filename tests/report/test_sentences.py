import pytest

from qrdistill.report import sentences


@pytest.mark.parametrize(
    ("low", "high", "established"),
    [(0.01, 0.05, True), (-0.05, -0.01, True), (0.0, 0.05, False), (-0.1, 0.1, False)],
)
def test_no_claim_without_an_interval_that_excludes_zero(low, high, established):
    text = sentences.verdict({"difference": (low + high) / 2, "low": low, "high": high, "n": 9})
    assert ("not established" in text) is not established


def test_numbers_are_for_people():
    assert sentences.number(1234567) == "1\u202f234\u202f567"
    assert [sentences.dollars(value) for value in (0.0, 0.0012, 3.5)] == ["$0.00", "$0.0012", "$3.50"]
    assert sentences.listed(["a", "b", "c"]) == "a, b and c"
    assert sentences.listed([]) == ""
    assert sentences.shown_name("anna@base") == "anna before training"
