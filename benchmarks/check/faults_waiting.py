"""Faults that only wait: times alone show them."""

from __future__ import annotations

from benchmarks.check.inject import Edit, Injection

_COMMANDS = "s2fast/commands/app.py"
_APP = "app = typer.Typer(\n"


def _waiting(what: str, module: str, wait: str) -> Injection:
    """Return a fault that waits at the end of each command, given the lines that wait for `seconds`."""
    slow = f"""class _Waiting(typer.Typer):
    def __call__(self, *arguments: object, **options: object) -> object:
        begin = time.perf_counter()
        try:
            return super().__call__(*arguments, **options)
        finally:
            seconds = 0.15 * (time.perf_counter() - begin)
{wait}

app = _Waiting(
"""
    return Injection(
        f"+15 % of waiting: {what}",
        (Edit(_COMMANDS, "import typer\n", module), Edit(_COMMANDS, _APP, slow)),
        shows=("match",),
        timed=("match",),
    )


SLEEP = _waiting("a sleep", "import time\n\nimport typer\n", "            time.sleep(seconds)\n")

LOCK = _waiting(
    "a lock",
    "import threading\nimport time\n\nimport typer\n",
    """            held = threading.Lock()
            held.acquire()
            threading.Timer(seconds, held.release).start()
            with held:
                pass
""",
)

WAITING_FAULTS = (SLEEP, LOCK)
"""15 % of a command's whole call, its planning included, whatever the machine."""
