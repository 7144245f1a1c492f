"""Write the help text of every command into docs/cli.md.

    python tools/make_cli_docs.py [--check]

The texts are made in this process, 100 columns wide and without color, so that they do not depend on the terminal.
`--check` writes nothing and ends with 1 when docs/cli.md is not what would be written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import typer.main

from llmplan.cli.app import app

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
WIDTH = 100
HEAD = """\
# Commands

Written by `tools/make_cli_docs.py` from the help texts; edit those.

`WORKLOAD` is a YAML or JSON file (`llmplan schema workload` prints its fields, [examples](../examples) has some); `-`
is standard input. The answer goes to stdout, everything else to stderr. `--set PATH=VALUE` and environment variables
such as `LLMPLAN_SLO__TTFT` change one value of the question; `LLMPLAN_CATALOG` names folders as `--catalog` does
([extend](extend.md)), `LLMPLAN_TODAY=2026-11-22` sets the day against which the age of prices is counted.
"""


def main() -> None:
    """Write the page, or compare it with what would be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    wanted = parser.parse_args()
    text = page()
    if wanted.check:
        sys.exit(0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text else 1)
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE.name}, {text.count('## ')} commands")


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    parts += [f"## {name}\n\n```text\n{text}\n```\n" for name, text in helps()]
    return "\n".join(parts)


def helps() -> Iterator[tuple[str, str]]:
    """Yield every command with its help text, in the order of the help itself."""
    yield from _below(typer.main.get_command(app), "llmplan", None)


def _below(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    settings = dict(command.context_settings)
    if parent is not None:
        settings.setdefault("help_option_names", parent.help_option_names)
    context = typer.Context(
        command,
        parent=parent,
        info_name=name.split()[-1],
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        color=False,
        **settings,
    )
    text = command.get_help(context)
    yield name, "\n".join(line.rstrip() for line in text.splitlines())
    for word, inner in getattr(command, "commands", {}).items():
        yield from _below(inner, f"{name} {word}", context)


if __name__ == "__main__":
    main()
