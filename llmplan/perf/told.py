"""What an operator of a step does, what its device could do it in, and which of them holds it up."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from llmplan.perf.roofline import Floats
from llmplan.spec.fits import Basis

BoundBy = Literal["compute", "hbm", "l2", "link", "latency", "host"]
IDLE_SHARE = 1 / 3
"""Below this share of a kernel's time the datasheet's limits say nothing: it waits for launches, tiles and ranks."""
FED_SHARE = 0.9
"""A kernel that would take less than this with an endless feed from L2 is bound by that feed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One operator of all layers in one step of C replicas; (C, N) arrays."""

    seconds: Floats
    unfed_s: Floats
    """The same with an L2 that feeds any number of bytes."""
    flop: Floats
    moved_bytes: Floats
    sent_bytes: Floats
    compute_s: Floats
    """At the datasheet's rates: arithmetic, traffic to device memory, traffic over links."""
    memory_s: Floats
    link_s: Floats
    kernel: str
    basis: tuple[Basis, ...]

    def __add__(self, other: Told) -> Told:
        """Return both together; kernel and basis are those of the longer one."""
        longer = self if float(self.seconds.sum()) >= float(other.seconds.sum()) else other
        sums = {
            f.name: getattr(self, f.name) + getattr(other, f.name)
            for f in fields(self)
            if f.name not in ("kernel", "basis")
        }
        return Told(**sums, kernel=longer.kernel, basis=longer.basis)

    def least_s(self, row: int) -> float:
        """Return the time that the datasheet allows one replica's operator. [s]"""
        return max(float(part[row, 0]) for part in (self.compute_s, self.memory_s, self.link_s))

    def bound_by(self, row: int) -> BoundBy:
        """Return what holds up one replica's operator."""
        if not self.kernel and not float(self.link_s[row, 0]) and not float(self.memory_s[row, 0]):
            return "host"
        seconds, least = float(self.seconds[row, 0]), self.least_s(row)
        if seconds > 0 and float(self.unfed_s[row, 0]) < FED_SHARE * seconds:
            return "l2"
        if least < IDLE_SHARE * seconds:
            return "latency"
        sides: dict[BoundBy, Floats] = {"compute": self.compute_s, "hbm": self.memory_s, "link": self.link_s}
        return max(sides, key=lambda side: float(sides[side][row, 0]))
