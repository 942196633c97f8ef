"""Run the performance check's composite action step by step, as a runner of GitHub Actions would.

    python -m tests.action_steps --base main --options=--quick --into DIR

clones this repository into DIR, runs there the steps of ``.github/actions/performance/action.yml`` in order, and leaves
in DIR what the action would show: ``performance.md`` (the report), ``summary.md`` (the job's summary) and
``comment.md`` (the comment, which a stand-in for ``gh`` writes). The exit code is that of the first step that failed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
ACTION = Path(".github", "actions", "performance")

_GH = """#!/bin/sh
# Stands in for GitHub's command line: keeps the comment, and the arguments it was called with.
echo "$@" > "$COMMENT.arguments"
while [ "$1" != --body-file ]; do shift; done
cp "$2" "$COMMENT"
"""


def run_steps(checkout: Path, folder: Path, inputs: Mapping[str, str], search_path: str = "") -> int:
    """Run the action's steps in a checkout; return the exit code of the first that failed, or 0.

    Parameters
    ----------
    checkout
        A clone of the repository.
    folder
        Where the runner keeps its files: report, summary, comment and the steps' outputs.
    inputs
        Inputs of the action; others have their defaults.
    search_path
        PATH of the steps; default: this process's.
    """
    action = yaml.safe_load((checkout / ACTION / "action.yml").read_text("utf-8"))
    values = {name: str(declared.get("default", "")) for name, declared in action["inputs"].items()} | dict(inputs)
    missing = [name for name, declared in action["inputs"].items() if declared.get("required") and name not in inputs]
    assert not missing, f"inputs without a value: {missing}"
    known = {f"inputs.{name}": value for name, value in values.items()} | {"runner.temp": str(folder)}
    stand_ins = folder / "bin"
    stand_ins.mkdir(parents=True)
    (stand_ins / "gh").write_text(_GH)
    (stand_ins / "gh").chmod(0o755)
    code = 0
    for number, step in enumerate(action["runs"]["steps"]):
        if not (_holds(step["if"], known) if "if" in step else code == 0):
            continue
        output = folder / f"output{number}"
        output.touch()
        variables = {
            **os.environ,
            "PATH": f"{stand_ins}{os.pathsep}{search_path or os.environ['PATH']}",
            "COMMENT": str(folder / "comment.md"),
            "GITHUB_ACTION_PATH": str(checkout / ACTION),
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
            "GITHUB_OUTPUT": str(output),
            **{name: _filled(value, known) for name, value in step.get("env", {}).items()},
        }
        print(f"step {step['name']}", flush=True)  # noqa: T201
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", _filled(step["run"], known)]
        ended = subprocess.run(command, cwd=checkout, env=variables, check=False).returncode
        code = code or ended
        for line in output.read_text().splitlines():
            name, _, value = line.partition("=")
            known[f"steps.{step.get('id')}.outputs.{name}"] = value
    return code


def _filled(text: str, known: Mapping[str, str]) -> str:
    """Replace expressions by their values; an output that no step has set is empty."""
    return re.sub(r"\$\{\{ ([\w.]+) \}\}", lambda match: _value(match[1], known), text)


def _value(name: str, known: Mapping[str, str]) -> str:
    if name not in known and not re.fullmatch(r"steps\.\w+\.outputs\.\w+", name):
        raise KeyError(f"the action names {name}, which a runner of composite actions does not have here")
    return known.get(name, "")


def _holds(condition: str, known: Mapping[str, str]) -> bool:
    """Return whether a condition holds: always(), or comparisons with the empty text, joined by &&."""
    for part in condition.split(" && "):
        compared = re.fullmatch(r"([\w.]+) != ''", part)
        if part != "always()" and (compared is None or not _value(compared[1], known)):
            return False
    return True


def main(argv: list[str]) -> int:
    """Clone, run the steps, and name what they left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="revision to compare with")
    parser.add_argument("--into", type=Path, required=True, help="new folder for the clone and the results")
    parser.add_argument("--options", default="", help="further options of the check")
    parser.add_argument("--description", default="", help="text of the pull request")
    asked = parser.parse_args(argv)
    folder = asked.into.resolve()
    checkout = folder / "clone"
    base = _git(ROOT, "rev-parse", f"{asked.base}^{{commit}}")
    _git(ROOT, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(checkout))
    _git(checkout, "fetch", "--quiet", str(ROOT), base)
    inputs: dict[str, Any] = {
        "base": base, "options": asked.options, "description": asked.description, "comment": "1", "token": "none",
    }  # fmt: skip
    code = run_steps(checkout, folder, inputs)
    print(f"exit code {code}", *sorted(map(str, folder.glob("*.md"))), sep="\n")  # noqa: T201
    return code


def _git(folder: Path, *arguments: str) -> str:
    run = subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
    return run.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
