"""Times collectives between the GPUs of this machine: one process a rank, captured into graphs like other kernels."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from llmplan.kernel_bench import UnsupportedError
from llmplan.kernel_ops import collective

PATIENCE_S = 180.0
"""Ranks that say nothing for so long are hung."""
CALLS, REPLAYS = 20, 20
FEW_BYTES = 64 * 2**20
"""Messages above it are repeated less: every rank must come to the same number without asking."""


class RankGroup:
    """Processes that hold one GPU each and run collectives when told to."""

    def __init__(self, ranks: int) -> None:
        import torch.multiprocessing as processes

        self.ranks = ranks
        self._folder = tempfile.TemporaryDirectory(prefix="llmplan-ranks-")
        context = processes.get_context("spawn")
        meeting = (Path(self._folder.name) / "meeting").as_uri()
        self._lines: list[Connection] = []
        self._running: list[Any] = []
        for rank in range(ranks):
            here, there = context.Pipe()
            one = context.Process(target=_rank, args=(rank, ranks, meeting, there), daemon=True)
            one.start()
            there.close()
            self._lines.append(here)
            self._running.append(one)

    def seconds(self, op: str, size_bytes: int) -> float:
        """Return the time of a collective on its slowest rank.

        Raises
        ------
        UnsupportedError
            A rank failed or did not answer; the group is of no more use.
        """
        found: list[float] = []
        try:
            for line in self._lines:
                line.send((op, size_bytes))
            while len(found) < self.ranks:
                ready = wait(self._lines, PATIENCE_S)
                if not ready:
                    raise UnsupportedError("the ranks hang")
                for line in (one for one in self._lines if one in ready):
                    told = line.recv()
                    if isinstance(told, str):
                        raise UnsupportedError(told)
                    found.append(told)
        except (EOFError, OSError):
            raise UnsupportedError("a rank ended") from None
        return max(found)

    def close(self) -> None:
        """End the processes."""
        for line in self._lines:
            with suppress(OSError):
                line.send(None)
            line.close()
        for one in self._running:
            one.join(5)
            if one.is_alive():
                one.kill()
                one.join()
        self._folder.cleanup()


def repeats(size_bytes: int) -> tuple[int, int]:
    """Return calls in a graph and replays of it, the same on every rank."""
    fewer = max(1, size_bytes // FEW_BYTES)
    return max(1, CALLS // fewer), max(5, REPLAYS // fewer)


def _rank(rank: int, ranks: int, meeting: str, line: Connection) -> None:
    """Run collectives until told to end."""
    import signal

    import torch
    import torch.distributed as dist

    from llmplan.kernel_cuda import graph_of, spans_s, warm_up

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        torch.cuda.set_device(rank)
        dist.init_process_group("nccl", init_method=meeting, rank=rank, world_size=ranks)
        while (asked := line.recv()) is not None:
            op, size_bytes = asked
            call = collective(op, size_bytes, ranks, f"cuda:{rank}")
            calls, replays = repeats(size_bytes)
            warm_up([call])
            graph = graph_of([call], calls)
            spans_s(graph, 2)
            line.send(statistics.median(spans_s(graph, replays)) / calls)
    except EOFError:
        return
    except (RuntimeError, ValueError) as error:
        with suppress(OSError):
            line.send((str(error).splitlines() or [type(error).__name__])[0])
