"""Money as people read it: USD, or another currency at a rate that the user gives. Nothing is planned in it."""

from __future__ import annotations

from dataclasses import dataclass

from llmplan.units import significant


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency and how much of it one US dollar is."""

    code: str = "USD"
    per_usd: float = 1.0

    def money(self, usd: float) -> str:
        """Return money with cents, or without from 1,000 up."""
        amount = usd * self.per_usd
        return self._signed(f"{amount:,.2f}" if abs(amount) < 1000 else f"{amount:,.0f}")

    def small(self, usd: float) -> str:
        """Return little money with cents, or three digits of less."""
        amount = usd * self.per_usd
        return self._signed(f"{amount:,.2f}" if amount >= 0.1 else significant(amount))

    def amount(self, usd: float) -> str:
        """Return money with cents under a heading that names the currency."""
        return f"{usd * self.per_usd:,.2f}"

    @property
    def note(self) -> str:
        """The rate in words; none for US dollars."""
        return "" if self == USD else f"amounts in {self.code}: 1 USD = {self.per_usd:g} {self.code}, as given"

    def _signed(self, text: str) -> str:
        return f"${text}" if self.code == "USD" else f"{text} {self.code}"


USD = Currency()
