"""Text that the programs of nccl-tests (and rccl-tests) print, as rows of collectives.

The size column of every test is the larger of what a rank sends and receives, which is our `bytes`: all_reduce and
send_recv the buffer, all_gather the gathered output, reduce_scatter the input, all_to_all the buffer of one rank
(`src/common.cu`, and the byte counts of each test). Times are those out of place. A text may hold several runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from llmplan.errors import InputError
from llmplan.foreign_rows import COLLECTIVE_DTYPES, Asked, Found, RefusedError, Row, Source, number, time_us, whole

OPS = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
    "sendrecv": "send_recv",
}
"""Our operator of each test."""
MARK = "algbw"
"""A word of the header that no table of another kind has."""
BYTES_PER_US_OF_GB_PER_S = 1000.0
LEAST_GB_PER_S, MOST_OFF = 1.0, 0.05
"""Printed bandwidths from the first on have digits enough to be compared with size over time, to within the second."""
_TAG = re.compile(r"^\[\d+,\d+\]<std(?:out|err)>:\s?")
"""What `mpirun --tag-output` puts before each line."""
_RANK = re.compile(
    r"#\s+Rank\s+(?P<rank>\d{1,9})\s+(?:Group\s+(?P<group>\d+)\s+)?Pid\s+\d+\s+on\s+(?P<host>\S+)\s+"
    r"device\s+\d+\s+\[[^]]*\]\s*(?P<device>.*)"
)
_STARTING = re.compile(r"#\s+Collective test starting:\s*(?:\S*/)?(?P<test>\w+?)_perf")
_SUITE = re.compile(r"(?P<suite>nccl|rccl)-tests", re.IGNORECASE)
_LIBRARY = re.compile(r"nccl-library=(?P<code>\d{1,9})")
_VERSION = re.compile(r"\b(?P<suite>NCCL|RCCL) version\s*:?\s*(?P<version>\d+(?:\.\d+)+)")
_UNIT = re.compile(r"\((?!B\)|elements\))(?P<unit>[^)]*)\)")


@dataclass(slots=True)
class _Run:
    """One run of one test."""

    test: str | None = None
    backend: str = "nccl"
    version: str = ""
    ranks: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Group and host of each."""
    devices: set[str] = field(default_factory=set)
    header: Sequence[str] = ()


def read(source: Source, asked: Asked) -> Found:
    """Return the rows of a text.

    Raises
    ------
    InputError
        Times are in another unit than microseconds, no table is there, or nothing says which test ran.
    """
    found, run, tables = Found(), _Run(), 0
    for number_of_line, raw in enumerate(source.text.splitlines(), 1):
        line = _TAG.sub("", raw).strip()
        where = f"{source.where}:{number_of_line}"
        if line.startswith("#") or not line[:1].isdigit():
            run = _told(line, run, where)
            tables += MARK in line
        elif run.header:
            found.take(_row(line.split(), run, source.where, asked))
    if not tables:
        raise InputError(f"{source.where}: holds no table of nccl-tests; want the text that all_reduce_perf prints")
    return found


def _told(line: str, run: _Run, where: str) -> _Run:
    """Return the run with what a line without times says about it; a new one where the line begins one."""
    if run.header and line.startswith(("# nThread", "# nccl-tests", "# rccl-tests", "# Collective test starting")):
        run = _Run(backend=run.backend, version=run.version)
    if rank := _RANK.match(line):
        run.ranks[int(rank["rank"])] = (rank["group"] or "0", rank["host"])
        run.devices.add(rank["device"].strip())
    if suite := _SUITE.search(line):
        run.backend = suite["suite"].lower()
    if library := _LIBRARY.search(line):
        run.version = _version(int(library["code"]))
    if version := _VERSION.search(line):
        run.backend, run.version = version["suite"].lower(), version["version"]
    if starting := _STARTING.match(line):
        run.test = starting["test"]
    if MARK in line and line.startswith("#"):
        run.header = line[1:].split()
    elif line.startswith("#") and "(B)" in line:
        unit = _UNIT.search(line)
        if unit is None or unit["unit"] != "us":
            raise InputError(f"{where}: times are in {unit['unit'] if unit else 'no unit'}; want us")
    return run


def _version(code: int) -> str:
    """Return the version that NCCL writes as one number: 22903 is 2.29.3, before 2.9 2804 is 2.8.4."""
    major, rest = divmod(code, 10_000 if code >= 10_000 else 1_000)
    minor, patch = divmod(rest, 100)
    return f"{major}.{minor}.{patch}"


def _row(cells: Sequence[str], run: _Run, where: str, asked: Asked) -> Iterator[Row]:
    op = _op(run, where, asked)
    if len(cells) < len(run.header):
        raise RefusedError("malformed")
    at = {name: cells[i] for i, name in reversed(list(enumerate(run.header)))}  # the first of a name: out of place
    if "time" not in at:
        raise RefusedError("cpu_time" if "cputime" in at else "malformed")
    if not {"size", "type", MARK} <= at.keys():
        raise RefusedError("malformed")
    if at.get("#wrong", "N/A") not in ("0", "N/A"):
        raise RefusedError("wrong_result")
    dtype = COLLECTIVE_DTYPES.get(at["type"])
    if dtype is None:
        raise RefusedError("unknown_dtype")
    size, taken_us = whole(at["size"]), time_us(at["time"])
    _check_bandwidth(size, taken_us, number(at[MARK]))
    ranks, link = _place(run, asked)
    yield Row(
        kind="comm",
        cells={
            "backend": run.backend, "version": run.version or asked.version or "", "op": op, "dtype": dtype,
            "ranks": ranks, "link": link, "bytes": size,
        },
        time_us=taken_us,
    )  # fmt: skip


def _op(run: _Run, where: str, asked: Asked) -> str:
    """Return the operator: as the text says, the option, or the name of the file."""
    if run.test is not None:
        if run.test not in OPS:
            raise RefusedError("unknown_op")
        return OPS[run.test]
    if asked.op is not None:
        return asked.op
    name = re.sub(r"[^a-z]", "", PurePath(where).name.lower())
    named = [op for test, op in OPS.items() if test.replace("_", "") in name]
    if len(named) != 1:
        raise InputError(f"{where}: does not say which test ran; give --op all_reduce (or another)")
    return named[0]


def _check_bandwidth(size: int, taken_us: float, printed_gb_per_s: float) -> None:
    """Refuse a row whose bandwidth is not its size over its time."""
    if printed_gb_per_s >= LEAST_GB_PER_S:
        off = size / taken_us / (printed_gb_per_s * BYTES_PER_US_OF_GB_PER_S) - 1
        if abs(off) > MOST_OFF:
            raise RefusedError("inconsistent")


SLICE = " MIG "
"""In the name of a part of a device."""


def _place(run: _Run, asked: Asked) -> tuple[int, str]:
    """Return the ranks of a run and the link between them."""
    ranks = len(run.ranks)
    if ranks == 0 or max(run.ranks) != ranks - 1:
        raise RefusedError("no_ranks")
    if ranks == 1:
        raise RefusedError("one_rank")
    if any(SLICE in device or asked.is_other(device) for device in run.devices):
        raise RefusedError("other_gpu")
    groups, hosts = (set(column) for column in zip(*run.ranks.values(), strict=True))
    if len(groups) > 1:
        raise RefusedError("split_groups")
    return ranks, "intra_node" if len(hosts) == 1 else "inter_node"
