"""``gateway token``: look into a macaroon, or revoke it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.exits import fail, settings_of

if TYPE_CHECKING:
    from gateway.l402.macaroon import Macaroon

EXIT_BAD_TOKEN, EXIT_DATABASE, EXIT_UNKNOWN = 1, 3, 4


@click.group()
def token() -> None:
    """Inspect and revoke tokens."""


@token.command(short_help="Show what a token says.")
@click.argument("text", metavar="TOKEN")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def inspect(text: str, as_json: bool) -> None:
    """Show what TOKEN says: its payment hash, id and caveats. Nothing is verified: that takes the root key.

    TOKEN is a macaroon in base64 or hex, a whole `L402 macaroon:preimage` credential, or - for standard input.
    The preimage is never shown.

    \b
    Exit codes: 0 shown, 1 not a token, 2 wrong usage.
    """
    import json

    described = _describe(_read(text))
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    for name, value in described.items():
        for line in value if isinstance(value, list) else [value]:
            click.echo(f"{name:<13} {line}{_moment(line)}")


@token.command(short_help="Make a token worthless for ever.")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("text", metavar="TOKEN")
def revoke(config: Path, text: str) -> None:
    """Make TOKEN worthless for ever, in every process that serves CONFIG (within a second).

    TOKEN is what inspect takes.

    \b
    Exit codes:
      0   revoked
      1   not a token
      2   wrong usage, or the configuration cannot be used
      3   the database cannot be used
      4   the token is unknown here, or was revoked before
    """
    import asyncio

    from gateway.errors import OutageError
    from gateway.l402.identifier import token_key

    storage_url = settings_of(config).storage_url
    key = token_key(_read(text).identifier)
    try:
        known = asyncio.run(_revoke(storage_url, key))
    except OutageError as error:
        fail(EXIT_DATABASE, f"gateway: {error}")
    if not known:
        fail(EXIT_UNKNOWN, "gateway: this token is unknown here, or was revoked before")
    click.echo("revoked: a gateway that is running refuses it within a second")


async def _revoke(storage_url: str, key: bytes) -> bool:
    import time

    from gateway.storage.opening import open_store

    store = await open_store(storage_url, clock=time.time)
    try:
        return await store.revoke(key, now=int(time.time()))
    finally:
        await store.aclose()


def _read(text: str) -> Macaroon:
    """The token in ``text``, or on standard input for ``-``; ends the command where there is none."""
    from gateway.errors import CredentialError
    from gateway.l402.identifier import Identifier
    from gateway.l402.macaroon import decode_macaroon

    words = (sys.stdin.read() if text == "-" else text).split()
    bare = words[-1] if words else ""
    first, *more = bare.split(":", 1)[0].split(",")
    if more:
        fail(EXIT_BAD_TOKEN, "gateway: not an L402 token: several tokens; give them one at a time")
    try:
        macaroon = decode_macaroon(_raw(first))
        Identifier.decode(macaroon.identifier)
    except CredentialError as error:
        fail(EXIT_BAD_TOKEN, f"gateway: not an L402 token: {error}")
    return macaroon


def _describe(macaroon: Macaroon) -> dict[str, Any]:
    from gateway.l402.identifier import Identifier, token_key

    identifier = Identifier.decode(macaroon.identifier)
    return {
        "payment_hash": identifier.payment_hash.hex(),
        "token_id": identifier.token_id.hex(),
        "key": token_key(macaroon.identifier).hex(),
        "location": _printable(macaroon.location),
        "caveat": [_shown(caveat) for caveat in macaroon.caveats],
    }


def _raw(text: str) -> bytes:
    from gateway.l402.tokens import decode_token, decode_token_hex

    # Hex is also base64's alphabet: only a macaroon's first bytes, version 2 and a location or identifier, tell.
    is_hex = text[:4].lower() in {"0201", "0202"} and all(char in "0123456789abcdefABCDEF" for char in text)
    return decode_token_hex(text) if is_hex else decode_token(text)


def _moment(line: str) -> str:
    """A caveat's end in words; Unix seconds tell a person nothing."""
    from datetime import UTC, datetime

    from gateway.l402.caveats import VALID_UNTIL_SUFFIX

    name, _, seconds = line.partition("=")
    if not name.endswith(VALID_UNTIL_SUFFIX) or not seconds.isdecimal() or len(seconds) > 11:
        return ""
    return f" ({datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%d %H:%M:%S} UTC)"


def _shown(caveat: bytes) -> str:
    from gateway.l402.caveats import PREIMAGE

    text = caveat.decode("ascii", "backslashreplace")
    return f"{PREIMAGE}=[not shown]" if text.startswith(f"{PREIMAGE}=") else _printable(text)


def _printable(text: str) -> str:
    """Whoever holds a token may add what he likes to it: line breaks and terminal commands among it are spelled out."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
