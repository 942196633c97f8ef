"""Parquet files are read from memory of Arrow's own: its threads need not ask Python to release it."""

import ast
import io
from pathlib import Path

import pandas as pd
import pytest

from s2fast.files.arrow_memory import arrow_file

PACKAGE = Path(__file__).parents[2] / "s2fast"


def test_arrow_holds_no_memory_of_python() -> None:
    table = pd.DataFrame({"name": ["a", "b"], "value": [1.5, 2.5]})
    sink = io.BytesIO()
    table.to_parquet(sink)
    content = bytearray(sink.getvalue())
    file = arrow_file(content)
    content.clear()  # BufferError while anybody holds its memory
    pd.testing.assert_frame_equal(pd.read_parquet(file), table)


@pytest.mark.slow
def test_every_reader_of_parquet_gets_such_memory_or_a_path_that_arrow_opens_itself() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
                call = ast.unparse(node)
                name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                if name in ("read_parquet", "read_table", "ParquetFile", "ParquetDataset"):
                    found.append((path.name, call))
    assert len(found) > 7
    # pandas opens a path as a file of Python; pyarrow and geopandas do not.
    by_path = ("read_table(path", "geopandas.read_parquet(path")
    # These get what the callers of `s2fast.files.parquet.read_table` pass.
    found = [(name, call) for name, call in found if name != "parquet.py"]
    assert [call for _, call in found if "(arrow_file(" not in call and not call.startswith(by_path)] == []
