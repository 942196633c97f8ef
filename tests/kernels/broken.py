"""Load a module with a line replaced, to see that tests find the fault."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def with_fault(module: ModuleType, folder: Path, old: str, new: str) -> ModuleType:
    """Return a copy of a module, in a file of its own because Triton reads it, in which `old` is `new`."""
    text = Path(str(module.__file__)).read_text("utf-8")
    assert text.count(old) == 1, f"{old!r} is no line of {module.__name__}"
    file = folder / f"broken_{abs(hash((old, new)))}.py"
    file.write_text(text.replace(old, new), "utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    broken = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = broken  # dataclasses look their module up
    spec.loader.exec_module(broken)
    return broken
