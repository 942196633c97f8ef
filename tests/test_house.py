"""Imports run in one direction: a room imports only rooms listed before it, and no module is part of a circle."""

import ast
import importlib
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROOMS = (
    "errors", "arguments", "files", "config", "verdicts", "model", "synth", "work", "detectors", "image", "geometry",
    "raster", "archive", "regions", "masks", "fetching", "folder", "page", "report", "pictures", "retrieval", "stages",
    "planning", "align", "results", "search", "pipeline", "truth", "sweeps", "tuning", "s2fast", "tools",
    "commands", "cli", "__main__", "examples",
)  # fmt: skip
"""Folders of the package, and the modules beside them, each before those that may import it; "s2fast" is the package's
own `__init__.py`."""


def modules(package: Path) -> dict[str, Path]:
    """Map the dotted names of a package's modules to their files."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def import_statements(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """Return the import statements of a file, wherever in it; each file is parsed once for all tests."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Return the modules that a file imports, wherever in it, from those known."""
    found = set()
    for node in import_statements(path):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif node.module:
            named = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if name in known else node.module for name in named}
    return found & set(known)


def room(module: str) -> str:
    """Return the room of a module of the package."""
    return module.split(".")[1] if "." in module else "s2fast"


MODULES = modules(ROOT / "s2fast")


def wrong_ways(known: dict[str, Path]) -> list[str]:
    """List the imports that run against the order of the rooms."""
    return [
        f"{module} imports {other}"
        for module, path in known.items()
        for other in imports(path, known)
        if ROOMS.index(room(other)) > ROOMS.index(room(module))
    ]


def test_rooms_import_only_rooms_below() -> None:
    assert {room(module) for module in MODULES} == set(ROOMS)
    assert wrong_ways(MODULES) == []


def test_no_module_is_part_of_a_circle() -> None:
    for package in (ROOT / "s2fast", ROOT / "kernels" / "s2fast_kernels", ROOT / "benchmarks"):
        known = modules(package)
        try:
            TopologicalSorter({name: imports(path, known) - {name} for name, path in known.items()}).prepare()
        except CycleError as error:
            pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_kernels_know_nothing_of_the_pipeline() -> None:
    known = MODULES | modules(ROOT / "kernels" / "s2fast_kernels") | modules(ROOT / "benchmarks")
    for name, path in modules(ROOT / "kernels" / "s2fast_kernels").items():
        assert all(other.startswith("s2fast_kernels") for other in imports(path, known)), name
    for name, path in MODULES.items():
        assert not any(other.startswith("benchmarks") for other in imports(path, known)), name


def test_a_wrong_way_and_a_circle_are_seen(tmp_path: Path) -> None:
    for name, text in {
        "__init__": "", "files/__init__": "", "files/a": "from s2fast.stages import b", "stages/__init__": "",
        "stages/b": "def f():\n    import s2fast.files.a",
    }.items():  # fmt: skip
        path = tmp_path / "s2fast" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    known = modules(tmp_path / "s2fast")
    assert wrong_ways(known) == ["s2fast.files.a imports s2fast.stages.b"]
    with pytest.raises(CycleError):
        TopologicalSorter({name: imports(path, known) for name, path in known.items()}).prepare()


def test_the_names_in_contributing_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    guides = text[text.index("## How a scene is processed") : text.index("## Add a backend")]
    rooms = "|".join(ROOMS)
    names = re.findall(rf"`((?:s2fast_kernels|{rooms})[.\w]*)`", guides)
    assert len(names) > 30
    for name in names:
        full = name if name.startswith("s2fast_kernels") else f"s2fast.{name}"
        module, _, attribute = full.rpartition(".")
        known = MODULES | modules(ROOT / "kernels" / "s2fast_kernels")
        assert full in known or hasattr(importlib.import_module(module), attribute), name


def fields_without_text(path: Path) -> list[str]:
    """List the fields of classes that no line of text follows."""
    found = []
    for owner in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(owner, ast.ClassDef) or owner.name == "Config":  # whose sections are classes with texts
            continue
        for field, after in zip(owner.body, [*owner.body[1:], None], strict=True):
            told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and not told:
                found.append(f"{path.stem}.{owner.name}.{ast.unparse(field.target)}")
    return found


def test_every_field_has_a_line_of_text(tmp_path: Path) -> None:
    for package in (ROOT / "s2fast", ROOT / "kernels" / "s2fast_kernels"):
        assert [name for path in package.rglob("*.py") for name in fields_without_text(path)] == []
    (tmp_path / "a.py").write_text('class A:\n    told: int\n    """Text."""\n    bare: int\n')
    assert fields_without_text(tmp_path / "a.py") == ["a.A.bare"]
