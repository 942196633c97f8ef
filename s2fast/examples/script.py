"""Run an example as a script: wrong arguments and bad input end in one line and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from s2fast.errors import S2FastError
from s2fast.files.legible import counted, legible
from s2fast.files.redaction import public

EXIT_BAD_INPUT = 2


def run_script(
    main: Callable[..., None],
    module: str,
    arguments: str,
    *,
    packages: Sequence[str] = (),
    argv: Sequence[str] | None = None,
) -> int:
    """Call a function with the arguments of a script.

    Parameters
    ----------
    main
        The function; it takes one string per argument of the script.
    module
        Name of the script's module.
    arguments
        Names of the script's arguments, separated by blanks.
    packages
        Packages that the script imports and s2fast does not install.
    argv
        The arguments; default: those of this process.

    Returns
    -------
    int
        Exit code: 0, or 2 after a line on standard error that states what is wrong.

    Examples
    --------
    >>> run_script(print, "s2fast.examples.example", "ARCHIVE OUT", argv=["archive", "out"])
    archive out
    0
    """
    given = list(sys.argv[1:] if argv is None else argv)
    usage, wanted = f"usage: python -m {module} {arguments}", len(arguments.split())
    if given in (["-h"], ["--help"]):
        print(usage)
        return 0
    if len(given) != wanted:
        return _refused(f"got {counted(len(given), 'argument')}, wanted {wanted}; {usage}")
    if missing := [name for name in packages if find_spec(name) is None]:
        return _refused(f"the example needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    try:
        main(*given)
    except S2FastError as error:
        return _refused(str(error))
    return 0


def _refused(problem: str) -> int:
    print(f"s2fast: error: {legible(public(problem))}", file=sys.stderr)
    return EXIT_BAD_INPUT
