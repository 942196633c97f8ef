"""``python -m s2fast``: the command line."""

from s2fast.cli import main

if __name__ == "__main__":
    main()
