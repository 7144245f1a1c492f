"""`python -m llmplan` and the `llmplan` command."""

from __future__ import annotations

import sys

from llmplan.errors import INTERRUPTED


def main() -> None:
    """Run the command line; an interrupt while it is still starting ends like any other."""
    try:
        from llmplan.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
