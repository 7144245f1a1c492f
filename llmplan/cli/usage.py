"""What is wrong with a command line, in one line: the option, what is wrong, what would be right."""

from __future__ import annotations

import re

from pydantic import ValidationError
from typer.exceptions import TyperException

from llmplan.errors import near
from llmplan.spec.messages import complaint

_CHOICE = re.compile(r"(?P<given>'.*') is not one of (?P<known>'.*')\.?\Z")
_UNKNOWN = re.compile(r"No such (?P<what>option|command):? '?(?P<name>[^ ']+)'?")


def help_of(error: TyperException) -> str:
    """Return the help that is shown where a command lacks its subcommand, or an empty text."""
    context = getattr(error, "ctx", None)
    return str(error.message) if context is not None and error.message == context.get_help() else ""


def usage(error: TyperException) -> str:
    """Return what is wrong with a command line, without the name of the program."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    command = getattr(context, "command_path", "llmplan")
    seek = f"{command} -h shows what there is"
    if parameter is not None:
        return f"{_name(parameter)}: {_about_value(error) or f'missing; {command} -h shows what it wants'}"
    unknown = _UNKNOWN.match(error.message)
    if unknown:
        given = unknown["name"]
        advice = near(given, _known(context, unknown["what"]))
        return f"{given}: no such {unknown['what']}; {advice if advice.startswith('did') else seek}"
    said = error.format_message().strip().rstrip(".")
    option = getattr(error, "option_name", None)
    if option and said.endswith("requires an argument"):
        return f"{option}: has no value; write it as {option} VALUE"
    return f"{option or command}: {said[:1].lower()}{said[1:]}; {seek}"


def _name(parameter: object) -> str:
    """Return an option in its long form, or an argument as the usage has it."""
    options = [name for name in getattr(parameter, "opts", ()) if name.startswith("-")]
    if options:
        return str(max(options, key=len))
    return str(getattr(parameter, "metavar", None) or getattr(parameter, "name", "argument"))


def _about_value(error: TyperException) -> str:
    """Return what is wrong with a value and what would be right; nothing where there is no value."""
    cause = error.__cause__
    said = complaint(cause) if isinstance(cause, ValidationError) else error.message
    choice = _CHOICE.match(said)
    if choice is None:
        return said
    known = re.findall(r"'([^']*)'", choice["known"])
    return f"{choice['given']} is not known here; {near(choice['given'].strip(chr(39)), known)}"


def _known(context: object, what: str) -> list[str]:
    """Return the options or commands that there are."""
    command = getattr(context, "command", None)
    if what == "command":
        return list(getattr(command, "commands", ()))
    return [name for one in getattr(command, "params", ()) for name in one.opts if name.startswith("--")]
