"""The command line. Modules hold one command each and import what they need when it runs."""

import sys

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def main() -> None:
    """Entry point of the ``accelsim`` command. What it imports takes a moment, in which Ctrl-C is no fault either."""
    try:
        from .app import app

        app()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(INTERRUPTED)
