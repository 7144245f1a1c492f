"""What can go wrong, as a tree.

::

    LlmplanError              the user can mend it: one line, exit code 2
    ├── InputError            a file or an option says something that cannot be used
    ├── UnknownNameError      a name that the catalog does not hold; near names are offered
    └── SolverError           no solver answered; the plan could not be made

"No" is not an error: a question without a feasible answer returns `Infeasible` (spec/plan.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""


class LlmplanError(Exception):
    """Something the user can mend, said in one line: *where: what is wrong; what would be right*."""

    exit_code = 2


class InputError(LlmplanError):
    """A file, a field or an option holds something that cannot be used."""


class UnknownNameError(LlmplanError):
    """A name that is not in the catalog."""


class SolverError(LlmplanError):
    """No solver could be started, or none answered."""


SHORTEST = 3
"""A part of a name with at least so many letters is taken as a hint."""


def near(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return advice on what `name` may have meant: the nearest names, or all when there are few."""
    names = sorted(set(known))
    folded = {n.casefold(): n for n in names}
    close = [folded[hit] for hit in get_close_matches(name.casefold(), folded, n=3, cutoff=cutoff)]
    if close:
        return f"did you mean {' or '.join(close)}?"
    inside = [n for n in names if name and name.casefold() in n.casefold()]
    if inside and len(name) >= SHORTEST:
        return f"did you mean {' or '.join(inside[:3])}?"
    if 0 < len(names) <= 12:
        return f"pick one of {', '.join(names)}"
    return ""
