"""The commands together, and how the process ends."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer
from typer.exceptions import TyperException

from llmplan.cli import calibrate, catalog, estimate, models, prices, recommend, schema, validate
from llmplan.cli.options import EXIT_CODES, muted
from llmplan.cli.usage import help_of, usage
from llmplan.errors import INTERRUPTED, LlmplanError
from llmplan.version import __version__

REPORT_AT = "please report it with the command and its input (-v shows where)"

app = typer.Typer(
    name="llmplan",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
    help="Plan LLM serving: which GPUs to rent, how to cut the model, what it costs, and why.",
)
app.command("recommend", epilog=recommend.EPILOG)(recommend.recommend)
app.command("estimate", epilog=estimate.EPILOG)(estimate.estimate)
app.add_typer(catalog.app, name="catalog")
app.add_typer(models.app, name="models")
app.add_typer(prices.app, name="prices")
app.add_typer(validate.app, name="validate")
app.add_typer(calibrate.app, name="calibrate")
app.command("schema", epilog=schema.EPILOG)(schema.schema)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmplan {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Plan LLM serving: which GPUs to rent, how to cut the model, what it costs, and why."""


def main() -> None:
    """Run the command line; a known error is one line, anything else is our bug."""
    try:
        code = app(prog_name="llmplan", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except SystemExit as ended:
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        muted(sys.stdout)
        muted(sys.stderr)
        sys.exit(0)
    except TyperException as error:
        asked = help_of(error)
        _said(asked or f"llmplan: {one_line(usage(error))}", None if asked else _red())
        sys.exit(LlmplanError.exit_code)
    except LlmplanError as error:
        _said(f"llmplan: {one_line(str(error))}", _red())
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    except OSError as error:
        about = f"{error.filename}: " if error.filename else ""
        _said(f"llmplan: {one_line(about + (error.strerror or str(error)))}", _red())
        sys.exit(LlmplanError.exit_code)
    except Exception as error:  # noqa: BLE001 - the last resort: our bug, said in one line
        if _interrupted(error):
            sys.exit(INTERRUPTED)
        if "-v" in sys.argv or "--verbose" in sys.argv:
            traceback.print_exc()
        said = one_line(f"{type(error).__name__}: {error}")
        _said(f"llmplan: internal error: {said}; {REPORT_AT}", _red())
        sys.exit(1)


def _said(text: str, color: str | None) -> None:
    """Say the last words on stderr, when somebody still reads them."""
    try:
        typer.secho(text, fg=color, err=True)
    except BrokenPipeError:
        muted(sys.stderr)


def _interrupted(error: BaseException) -> bool:
    """Return whether an interrupt was wrapped into another error, as libraries do while they are imported."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt) or "KeyboardInterrupt" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def one_line(text: str) -> str:
    """Return text without line breaks or control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _red() -> str | None:
    return None if "NO_COLOR" in os.environ or "--no-color" in sys.argv else "red"
