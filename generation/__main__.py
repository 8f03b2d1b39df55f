# PYTHON_ARGCOMPLETE_OK
"""Run the command line: ``python -m generation``."""

from generation.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
