"""docs/notebook.ipynb: it was executed as it stands, and its cells still run."""

import ast
import json
from pathlib import Path

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
CELLS = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_it_was_executed_in_order_and_no_cell_failed():
    assert [cell["execution_count"] for cell in CELLS] == list(range(1, len(CELLS) + 1))
    outputs = [output for cell in CELLS for output in cell["outputs"]]
    assert outputs
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert "points" in "".join(map(str, CELLS[0]["outputs"]))  # the run says whether it helped


def test_its_cells_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in CELLS:
        code = "".join(cell["source"])
        small = code.replace('"train": 60, "dev": 20, "test": 40', '"train": 8, "dev": 2, "test": 3')
        small = small.replace(
            '"steps": 20, "paths_per_step": 16',
            '"steps": 2, "paths_per_step": 4, "warmup": 1}, "evaluate": {"max_tokens": 16',
        )
        tree = ast.parse(small)
        *_, last = tree.body
        exec(compile(tree, str(NOTEBOOK), "exec"), names)  # our own page
        if isinstance(last, ast.Expr):
            shown = eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)
            assert not hasattr(shown, "_repr_html_") or shown._repr_html_()
