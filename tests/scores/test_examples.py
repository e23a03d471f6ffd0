"""The examples in the docstrings run."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("module", ["statistics", "student_style", "paired", "style_of_text"])
def test_docstring_examples(module):
    result = doctest.testmod(importlib.import_module(f"qrdistill.scores.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
