"""``gateway token``: look into a macaroon, or revoke it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

EXIT_BAD_TOKEN, EXIT_CONFIG, EXIT_DATABASE, EXIT_UNKNOWN = 1, 2, 3, 4


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

    from gateway.errors import CredentialError

    try:
        described = _describe(sys.stdin.read() if text == "-" else text)
    except CredentialError as error:
        click.echo(f"gateway: not an L402 token: {error}", err=True)
        sys.exit(EXIT_BAD_TOKEN)
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

    from gateway.config import load_settings
    from gateway.errors import ConfigError, CredentialError, OutageError

    try:
        storage_url = load_settings(config, os.environ).storage_url
        key = bytes.fromhex(_describe(sys.stdin.read() if text == "-" else text)["key"])
        known = asyncio.run(_revoke(storage_url, key))
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_CONFIG)
    except CredentialError as error:
        click.echo(f"gateway: not an L402 token: {error}", err=True)
        sys.exit(EXIT_BAD_TOKEN)
    except OutageError as error:
        click.echo(f"gateway: {error}", err=True)
        sys.exit(EXIT_DATABASE)
    if not known:
        click.echo("gateway: this token is unknown here, or was revoked before", err=True)
        sys.exit(EXIT_UNKNOWN)
    click.echo("revoked: a gateway that is running refuses it within a second")


async def _revoke(storage_url: str, key: bytes) -> bool:
    import time

    from gateway.storage.opening import open_store

    store = await open_store(storage_url, clock=time.time)
    try:
        return await store.revoke(key, now=int(time.time()))
    finally:
        await store.aclose()


def _describe(text: str) -> dict[str, Any]:
    from gateway.errors import CredentialError, Fault
    from gateway.l402.identifier import Identifier, token_key
    from gateway.l402.macaroon import decode_macaroon

    words = text.split()
    bare = words[-1] if words else ""
    token, *more = bare.split(":", 1)[0].split(",")
    if more:
        raise CredentialError(Fault.MALFORMED, "several tokens; give them one at a time")
    macaroon = decode_macaroon(_raw(token))
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

    name, _, seconds = line.partition("=")
    if not name.endswith("_valid_until") or not seconds.isdecimal() or len(seconds) > 11:
        return ""
    return f" ({datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%d %H:%M:%S} UTC)"


def _shown(caveat: bytes) -> str:
    text = caveat.decode("ascii", "backslashreplace")
    return "preimage=[not shown]" if text.startswith("preimage=") else _printable(text)


def _printable(text: str) -> str:
    """Whoever holds a token may add what he likes to it: line breaks and terminal commands among it are spelled out."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
