"""``python -m s2fast`` is the command ``s2fast``."""

from s2fast.cli import main

main()
