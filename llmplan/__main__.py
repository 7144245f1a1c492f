"""`python -m llmplan` and the `llmplan` command."""

from __future__ import annotations

from llmplan.cli.app import main

if __name__ == "__main__":
    main()
