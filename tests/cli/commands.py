"""Runs a command in this process, as a shell would."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass

import pytest

from llmplan.cli.app import main

COLLECTIVE_ROWS = "system,backend,version,dtype,ranks,link,bytes,op,time_us\n" + "".join(
    f"h100_sxm,nccl,9,float16,{ranks},intra_node,{4**k * 1000},all_gather,{8 + ranks + 4**k * 1e3 / 2e5:.3f}\n"
    for ranks in (2, 4, 8)
    for k in range(10)
)
"""A few rows of measured kernels."""


@dataclass(frozen=True)
class Ran:
    """How one command ended and what it said."""

    code: int | str | None
    out: str
    err: str


def llmplan(*args: str) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["llmplan", *args])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    return Ran(ended.value.code, out.getvalue(), err.getvalue())
