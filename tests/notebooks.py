"""Execute the example notebooks without Jupyter and store their outputs.

    python -m tests.notebooks [TO]

``TO`` is a folder for the executed copies; without it, the notebooks of ``examples/`` themselves are rewritten.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

EXAMPLES = Path(__file__).parents[1] / "examples"


class Shell(InteractiveShell):
    """A shell for ``%matplotlib inline``, which asks for an event loop that is not needed."""

    def enable_gui(self, gui: str | None = None) -> None:
        """Do nothing."""


def execute(notebook: dict[str, Any]) -> None:
    """Run the cells of a notebook in order and replace their outputs; raise the error of a cell that fails."""
    shell = Shell.instance()
    shell.reset()
    for number, cell in enumerate((cell for cell in notebook["cells"] if cell["cell_type"] == "code"), start=1):
        with capture_output() as captured:
            result = shell.run_cell("".join(cell["source"]))
        result.raise_error()
        lines = captured.stdout.splitlines(keepends=True)
        outputs: list[dict[str, Any]] = [{"output_type": "stream", "name": "stdout", "text": lines}] if lines else []
        for shown in captured.outputs:
            if "image/png" in shown.data:
                data = {"image/png": shown.data["image/png"], "text/plain": ["a picture"]}
                outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
        cell.update(outputs=outputs, execution_count=number)


def main(to: str | None = None) -> None:
    """Execute all notebooks of the folder and write them."""
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        notebook = json.loads(path.read_text("utf-8"))
        execute(notebook)
        text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        (Path(to or EXAMPLES) / path.name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
