"""How much the buyer may spend."""

from __future__ import annotations

from gateway.errors import BuyerError
from gateway.l402.amounts import Msat, format_amount

DEFAULT_MAX_FEE = Msat(10_000)


class Budget:
    """Limits in millisatoshi: ``max_price_msat`` for one purchase, ``total_msat`` for all of them with their fees.

    ``max_fee_msat`` is the routing fee allowed on top of each price.
    """

    def __init__(
        self, max_price_msat: Msat, *, max_fee_msat: Msat = DEFAULT_MAX_FEE, total_msat: Msat | None = None
    ) -> None:
        if min(max_price_msat, max_fee_msat, total_msat or 0) < 0:
            raise ValueError("amounts are never negative")
        self.max_price_msat = max_price_msat
        self.max_fee_msat = max_fee_msat
        self.total_msat = total_msat
        self._spent = 0

    @property
    def spent_msat(self) -> Msat:
        """Paid so far, fees included; a payment under way, or one whose end is unknown, counts in full."""
        return Msat(self._spent)

    def check(self, price_msat: Msat) -> None:
        """Raise ``BuyerError`` (``too_expensive`` or ``over_budget``) when this price may not be paid now."""
        if price_msat > self.max_price_msat:
            limit = format_amount(self.max_price_msat)
            raise BuyerError("too_expensive", f"the price is {format_amount(price_msat)}, the limit is {limit}")
        if self.total_msat is not None and self._spent + price_msat + self.max_fee_msat > self.total_msat:
            left = format_amount(Msat(max(0, self.total_msat - self._spent)))
            raise BuyerError(
                "over_budget", f"{format_amount(price_msat)} and its fee do not fit: {left} of the budget are left"
            )

    def reserve(self, price_msat: Msat) -> None:
        """Set the price and the highest fee aside. Raises as ``check`` does."""
        self.check(price_msat)
        self._spent += price_msat + self.max_fee_msat

    def release(self, price_msat: Msat) -> None:
        """Nothing was paid: give a reservation back."""
        self._spent -= price_msat + self.max_fee_msat

    def commit(self, price_msat: Msat, fee_msat: Msat) -> None:
        """The reserved price was paid, with this fee."""
        self._spent += fee_msat - self.max_fee_msat
