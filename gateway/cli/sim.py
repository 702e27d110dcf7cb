"""``gateway sim``: the wallet for the simulated Lightning node."""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

import click

from gateway.cli.exits import fail
from gateway.lightning.settings import SIMULATED_ENDPOINT

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_UNREACHABLE = 1, 2, 3
DEFAULT_NODE = f"http://{SIMULATED_ENDPOINT}"
MAX_INPUT_BYTES = 1_048_576
PAY_TIMEOUT_S = 30.0

_CHALLENGE_LINE = re.compile(r"^(?:< )?WWW-Authenticate:[ \t]*(.*?)[ \t\r]*$", re.IGNORECASE | re.MULTILINE)


class Bill(NamedTuple):
    """What is to be paid, and the start of the ``Authorization`` value ("L402 <token>") if a challenge brought it."""

    invoice: str
    credential: str | None


@click.group()
def sim() -> None:
    """Pay with the simulated node's play money."""


@sim.command(short_help="Pay an invoice, print its preimage.")
@click.argument("invoice")
@click.option("--node", default=DEFAULT_NODE, show_default=True, metavar="URL", help="The simulated node's endpoint.")
@click.option("--authorization", is_flag=True, help="Print the header line to send instead of the bare preimage.")
def pay(invoice: str, node: str, authorization: bool) -> None:
    """Pay INVOICE and print its preimage in hex.

    INVOICE is a BOLT11 invoice, a whole 402 response as `curl -i` prints it (or its WWW-Authenticate line alone),
    or - to read either from standard input.

    \b
    Exit codes:
      0   paid
      1   the node refuses; nothing was paid
      2   wrong usage, or no usable invoice given
      3   no preimage from the node; it may be paid: try again
    """
    import asyncio

    from gateway.errors import ChallengeError, InvoiceError, OutageError, PaymentFailed

    try:
        bill = _read_bill(_read_stdin() if invoice == "-" else invoice)
        if authorization and bill.credential is None:
            fail(
                EXIT_BAD_INPUT,
                "gateway: --authorization needs a 402 response with its WWW-Authenticate line, not a bare invoice",
            )
        preimage = asyncio.run(_pay(node, bill.invoice)).hex()
    except ChallengeError as error:
        fail(EXIT_BAD_INPUT, f"gateway: no L402 challenge in the response: {error}")
    except InvoiceError as error:
        fail(EXIT_BAD_INPUT, f"gateway: not a BOLT11 invoice: {error}")
    except ValueError as error:
        fail(EXIT_BAD_INPUT, f"gateway: {error}")
    except PaymentFailed as error:
        fail(EXIT_FAILED, f"gateway: not paid: {error}")
    except OutageError as error:
        fail(EXIT_UNREACHABLE, f"gateway: {error}")
    click.echo(f"Authorization: {bill.credential}:{preimage}" if authorization else preimage)


def _read_stdin() -> str:
    # The body that follows the headers may be in any encoding.
    return sys.stdin.buffer.read(MAX_INPUT_BYTES).decode(errors="replace")


def _read_bill(text: str) -> Bill:
    """Find the invoice. Raises ``InvoiceError`` or ``ChallengeError``."""
    from gateway.l402 import bolt11
    from gateway.l402.challenge import parse_challenges

    bare = text.strip()
    if len(bare.split()) > 1:
        challenge = parse_challenges(_CHALLENGE_LINE.findall(bare) or [bare])[0]
        invoice, credential = challenge.invoice, f"{challenge.scheme} {challenge.token}"
    else:
        invoice, credential = bare.removeprefix("lightning:"), None
    bolt11.decode(invoice)
    return Bill(invoice, credential)


async def _pay(node: str, invoice: str) -> bytes:
    from gateway.l402.amounts import Msat
    from gateway.lightning.simulated import SimulatedPayer

    payer = SimulatedPayer(node)
    try:
        return (await payer.pay(invoice, max_fee_msat=Msat(0), timeout_s=PAY_TIMEOUT_S)).preimage
    finally:
        await payer.aclose()
