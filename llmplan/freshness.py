"""How old prices are on the day of an answer."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from llmplan.errors import InputError
from llmplan.spec.hardware import Offer

VARIABLE = "LLMPLAN_TODAY"
MAX_AGE_DAYS = 90
"""Older prices are warned of: a quarter of a year. A convention; `--max-price-age` sets another."""


def today() -> date:
    """Return the day of an answer: LLMPLAN_TODAY, so that the same question has the same bytes later, or the clock's.

    Raises
    ------
    InputError
        LLMPLAN_TODAY is no day.
    """
    text = os.environ.get(VARIABLE)
    return date.today() if not text else day_of(text, VARIABLE)


def day_of(text: str, where: str) -> date:
    """Return the day that a text such as 2026-01-31 means.

    Raises
    ------
    InputError
        The text is no day.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{where}: {text!r} is no day; write it as 2026-01-31") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOf:
    """The day of an answer, and how old its prices may be without a warning."""

    day: date = field(default_factory=today)
    max_age_days: int = MAX_AGE_DAYS

    def age_days(self, snapshot: date | None) -> int | None:
        """Return the age of prices; None: their day is unknown."""
        return None if snapshot is None else max(0, (self.day - snapshot).days)

    def oldest_days(self, offers: Iterable[Offer]) -> int | None:
        """Return the age of the oldest prices; None when one has no known day, or there are none."""
        ages = [self.age_days(offer.snapshot) for offer in offers]
        known = [age for age in ages if age is not None]
        return max(known) if known and len(known) == len(ages) else None

    def warnings(self, offers: Iterable[Offer]) -> list[str]:
        """Return what to say of prices that are old, or of an unknown day."""
        days = sorted({(offer.provider, offer.snapshot) for offer in offers}, key=str)
        old = [
            f"{name} {day} ({age} days)" for name, day in days if (age := self.age_days(day) or 0) > self.max_age_days
        ]
        unknown = [name for name, day in days if day is None]
        said = []
        if old:
            listed = ", ".join(old)
            said.append(f"prices are older than {self.max_age_days} days: {listed}; check them before you decide")
        if unknown:
            said.append(f"prices of an unknown day: {', '.join(unknown)}")
        return said
