# PYTHON_ARGCOMPLETE_OK
"""Run the command line: ``python -m generation``, or the console script of a wheel."""


def main() -> int:
    """Run the command line; return its exit status."""
    try:
        from generation.cli.main import main as run

        return run()
    except KeyboardInterrupt:  # while Python was still importing
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
