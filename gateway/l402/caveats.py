"""Caveats: ``condition=value``, split at the first ``=`` (L402 L60).

Conditions that this gateway mints and checks, for a service called ``name``::

    services              = name ":" tier *( "," name ":" tier )      L402 L61
    <name>_capabilities   = capability *( "," capability )            L402 L65
    <name>_valid_until    = 1*12DIGIT                                 L402 L67, Unix seconds
    preimage              = 64HEXDIG                                  L402 L68, added by the holder
    gw_route              = route *( "," route )                      ours
    gw_price_msat         = 1*19DIGIT                                 ours, the quoted price

    name, capability, route = 1*64( %x61-7A / DIGIT / "_" / "-" )     ; lower case, so nothing can inject "," ":" "="
    tier                    = 0..255 without leading zeros
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from gateway.errors import CredentialError, Fault
from gateway.l402.amounts import MAX_MSAT

SERVICES = "services"
PREIMAGE = "preimage"
ROUTE = "gw_route"
PRICE = "gw_price_msat"
CAPABILITIES_SUFFIX = "_capabilities"
VALID_UNTIL_SUFFIX = "_valid_until"
OUR_NAMESPACE = "gw_"
"""Conditions that begin so are ours alone: one that we do not know is refused, not skipped."""
MAX_CAVEAT_BYTES = 512
MAX_TIER = 255

_NAME = r"[a-z0-9_-]{1,64}"
_PAIR = rf"{_NAME}:(?:0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])"
_IS_NAME = re.compile(_NAME)
_IS_NAMES = re.compile(rf"{_NAME}(?:,{_NAME})*")
_IS_PAIRS = re.compile(rf"{_PAIR}(?:,{_PAIR})*")
_IS_TIME = re.compile(r"[0-9]{1,12}")
_IS_PRICE = re.compile(r"[0-9]{1,19}")
_IS_HASH = re.compile(r"[0-9A-Fa-f]{64}")


class Caveat(NamedTuple):
    """One restriction. A ``preimage`` is left out of the repr: it is half of a credential."""

    condition: str
    value: str

    def __repr__(self) -> str:
        value = "…" if self.condition == PREIMAGE else self.value
        return f"Caveat(condition={self.condition!r}, value={value!r})"

    @property
    def text(self) -> str:
        """``condition=value``."""
        return f"{self.condition}={self.value}"

    def encode(self) -> bytes:
        """The bytes that are signed. Raises ``ValueError`` where decoding would not give this caveat back."""
        if not self.condition or "=" in self.condition:
            raise ValueError("a caveat's condition is not empty and holds no '='")
        raw = self.text.encode()
        if len(raw) > MAX_CAVEAT_BYTES:
            raise ValueError(f"a caveat is at most {MAX_CAVEAT_BYTES} bytes long")
        return raw

    @classmethod
    def decode(cls, raw: bytes) -> Caveat | None:
        """Read a caveat; None when it has no condition in UTF-8, so that nobody can check it (L402 L48, L60).

        Foreign bytes in a value are spelled out with backslashes, which no value of a known condition may hold.
        """
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text = raw.decode(errors="backslashreplace")
            if not raw.partition(b"=")[0].isascii():
                return None
        condition, equals, value = text.partition("=")
        return cls(condition, value) if equals else None


def is_name(text: str) -> bool:
    """Whether this may name a service, a capability or a route: ``[a-z0-9_-]{1,64}``."""
    return _IS_NAME.fullmatch(text) is not None


def is_service_name(text: str) -> bool:
    """A name whose own conditions (``<name>_valid_until`` …) stay out of our namespace: not ``gw``, not ``gw_…``."""
    return is_name(text) and not f"{text}_".startswith(OUR_NAMESPACE)


def capabilities_condition(service: str) -> str:
    """The condition that lists what a token may do at ``service``."""
    return service + CAPABILITIES_SUFFIX


def valid_until_condition(service: str) -> str:
    """The condition that ends a token at ``service``."""
    return service + VALID_UNTIL_SUFFIX


# ── Reading values: CredentialError (invalid caveat) for whatever does not follow the grammar above (L402 L70) ──


def read_services(value: str) -> frozenset[str]:
    """The pairs ``name:tier``; a tier has one spelling, so pairs can be compared as text."""
    return _read_list(_IS_PAIRS, value)


def read_names(value: str) -> frozenset[str]:
    """Capabilities or route ids."""
    return _read_list(_IS_NAMES, value)


def read_time(value: str) -> int:
    """Unix seconds."""
    if _IS_TIME.fullmatch(value) is None:
        raise CredentialError(Fault.INVALID_CAVEAT, "a time is not Unix seconds in 1 to 12 digits")
    return int(value)


def read_price(value: str) -> int:
    """Millisatoshi, 0 to all bitcoin there is."""
    if _IS_PRICE.fullmatch(value) is None or (msat := int(value)) > MAX_MSAT:
        raise CredentialError(Fault.INVALID_CAVEAT, "a price is not an amount in millisatoshi")
    return msat


def read_preimage(value: str) -> bytes:
    """32 bytes in hex of either case."""
    if _IS_HASH.fullmatch(value) is None:
        raise CredentialError(Fault.INVALID_CAVEAT, "a preimage is not 64 hex digits")
    return bytes.fromhex(value)


def _read_list(grammar: re.Pattern[str], value: str) -> frozenset[str]:
    if grammar.fullmatch(value) is None:
        raise CredentialError(Fault.INVALID_CAVEAT, "a list in a caveat does not follow its grammar")
    return frozenset(value.split(","))


# ── Writing them: ValueError for whatever would not be read back as it was meant ──


def services_caveat(services: Sequence[tuple[str, int]]) -> str:
    """``services=name:tier,…`` for (name, tier) pairs."""
    if not all(0 <= tier <= MAX_TIER for _, tier in services):
        raise ValueError("a tier is 0 to 255")
    pairs = [f"{_checked_service(name)}:{int(tier)}" for name, tier in services]
    return _written(SERVICES, _joined(pairs))


def capabilities_caveat(service: str, capabilities: Sequence[str]) -> str:
    """``<service>_capabilities=a,b``."""
    return _written(
        capabilities_condition(_checked_service(service)), _joined([_checked(name) for name in capabilities])
    )


def valid_until_caveat(service: str, unix_s: int) -> str:
    """``<service>_valid_until=<Unix seconds>``: the token is good while now < unix_s."""
    if not 0 <= unix_s < 10**12:
        raise ValueError("a time is Unix seconds in at most 12 digits")
    return _written(valid_until_condition(_checked_service(service)), str(int(unix_s)))


def route_caveat(routes: Sequence[str]) -> str:
    """``gw_route=id,…``: the priced routes that the token was quoted for."""
    return _written(ROUTE, _joined([_checked(name) for name in routes]))


def price_caveat(msat: int) -> str:
    """``gw_price_msat=<msat>``: the price that the token was quoted at."""
    if not 0 <= msat <= MAX_MSAT:
        raise ValueError("a price is 0 to all bitcoin there is, in millisatoshi")
    return _written(PRICE, str(int(msat)))


def preimage_caveat(preimage: bytes) -> str:
    """``preimage=<hex>``, as gRPC clients append it (L402 L68, L82). The result is a secret."""
    if len(preimage) != 32:
        raise ValueError("a preimage is 32 bytes")
    return _written(PREIMAGE, preimage.hex())


def _checked(name: str) -> str:
    if not is_name(name):
        raise ValueError("a name is 1 to 64 of a-z, 0-9, '_' and '-'")
    return name


def _checked_service(name: str) -> str:
    if not is_service_name(name):
        raise ValueError("a service's name is 1 to 64 of a-z, 0-9, '_' and '-', and not 'gw' or 'gw_…'")
    return name


def _joined(items: Sequence[str]) -> str:
    if not items:
        raise ValueError("an empty list would be refused by every verifier; leave the caveat out")
    return ",".join(items)


def _written(condition: str, value: str) -> str:
    return Caveat(condition, value).encode().decode()
