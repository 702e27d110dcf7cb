"""``gateway pay``: fetch a URL and pay for it over Lightning."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from gateway.cli.sim import DEFAULT_NODE

if TYPE_CHECKING:
    from gateway.client import Answer, Buyer, Offer, Quote
    from gateway.l402.amounts import Msat
    from gateway.lightning.payer import Payer

EXIT_PAYMENT, EXIT_USAGE, EXIT_BUDGET, EXIT_CHALLENGE, EXIT_UNPAID, EXIT_NETWORK, EXIT_HTTP = 1, 2, 3, 4, 5, 6, 22
_EXITS = {
    "no_wallet": EXIT_USAGE,
    "bad_url": EXIT_USAGE,
    "bad_header": EXIT_USAGE,
    "token_file": EXIT_USAGE,
    "too_expensive": EXIT_BUDGET,
    "over_budget": EXIT_BUDGET,
    "amountless_invoice": EXIT_CHALLENGE,
    "expired_invoice": EXIT_CHALLENGE,
    "foreign_network": EXIT_CHALLENGE,
    "hash_mismatch": EXIT_CHALLENGE,
    "wrong_preimage": EXIT_PAYMENT,
    "payment_unknown": EXIT_PAYMENT,
    "still_unpaid": EXIT_UNPAID,
}
"""Exit codes of ``BuyerError`` codes; the others are the network's or the server's."""
COPY_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that was said on the command line."""

    url: str
    method: str | None
    header: tuple[str, ...]
    data: str | None
    max_price: str | None
    max_fee: str
    wallet: str
    sim_node: str
    lnd_address: str
    lnd_cert: Path | None
    lnd_macaroon: Path | None
    network: str | None
    dry_run: bool
    tokens: Path | None
    no_store: bool
    new: bool
    output: Path | None
    include: bool
    quiet: bool


@click.command(short_help="Buy: fetch a URL, pay what it asks.", context_settings={"show_default": True})
@click.argument("url")
@click.option("-X", "--method", metavar="METHOD", help="Default: GET, or POST with --data.")
@click.option("-H", "--header", multiple=True, metavar="'NAME: VALUE'", help="May be repeated.")
@click.option("-d", "--data", metavar="DATA", help="Request body; @FILE sends a file as it is, @- standard input.")
@click.option("--max-price", envvar="L402_MAX_PRICE", metavar="AMOUNT", help="Never pay more: '100 sat', '1500 msat'.")
@click.option(
    "--max-fee", envvar="L402_MAX_FEE", default="10 sat", metavar="AMOUNT", help="Most routing fee on top of the price."
)
@click.option(
    "--wallet", envvar="L402_WALLET", type=click.Choice(["sim", "lnd"]), default="sim", help="sim pays with play money."
)
@click.option(
    "--sim-node",
    envvar="L402_SIM_NODE",
    default=DEFAULT_NODE,
    metavar="URL",
    help="The simulated node's endpoint.",
)
@click.option(
    "--lnd-address",
    envvar="L402_LND_ADDRESS",
    default="127.0.0.1:10009",
    metavar="HOST:PORT",
    help="gRPC of your lnd.",
)
@click.option("--lnd-cert", envvar="L402_LND_CERT", type=click.Path(path_type=Path), help="The node's tls.cert.")
@click.option(
    "--lnd-macaroon",
    envvar="L402_LND_MACAROON",
    type=click.Path(path_type=Path),
    help="A macaroon with offchain:read and offchain:write.",
)
@click.option(
    "--network",
    envvar="L402_NETWORK",
    type=click.Choice(["mainnet", "testnet", "signet", "regtest"]),
    help="The wallet's network; other invoices are refused.  [default: regtest for sim, mainnet for lnd]",
)
@click.option("--dry-run", is_flag=True, help="Show the price and pay nothing. (A free URL is fetched.)")
@click.option(
    "--tokens",
    envvar="L402_TOKENS",
    type=click.Path(path_type=Path),
    help="Where tokens are kept.  [default: l402-gateway/tokens.json in the XDG data home]",
)
@click.option("--no-store", is_flag=True, help="Keep no token, use no stored one.")
@click.option("--new", is_flag=True, help="Do not use stored tokens: buy anew.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False, writable=True), help="Body to a file.")
@click.option("-i", "--include", is_flag=True, help="Show the status line and the header fields too.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def pay(**given: Any) -> None:
    """Fetch URL; where the server asks for payment (HTTP 402, L402), pay within --max-price and fetch it.

    The body goes to standard output as it arrives, everything else to standard error. Tokens are kept and used again.

    The environment can set options too: L402_MAX_PRICE, L402_MAX_FEE, L402_WALLET, L402_SIM_NODE, L402_LND_ADDRESS,
    L402_LND_CERT, L402_LND_MACAROON, L402_NETWORK, L402_TOKENS.

    \b
    Exit codes:
      0   the server answered with a status below 400
      1   the payment failed, or it is unknown how it ended (run again: it is not paid twice)
      2   wrong usage, or the token file cannot be used
      3   the price is above --max-price; nothing was paid
      4   the challenge or the invoice is malformed or not to be trusted; nothing was paid
      5   paid, and the server still answers 402; it is not paid again (--new does)
      6   the network or the server failed (no connection, cut short, 503)
      22  the server answered with another status of 400 or more; its body is shown
    """
    import asyncio

    from gateway.errors import GatewayError

    options = Options(**given)
    try:
        status = asyncio.run(_run(options))
    except GatewayError as error:
        click.echo(f"gateway pay: {error}", err=True)
        sys.exit(_exit_code(error))
    except BrokenPipeError:
        sys.exit(EXIT_NETWORK)
    except OSError as error:
        click.echo(f"gateway pay: {error.filename or 'cannot read or write'}: {error.strerror}", err=True)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        click.echo("gateway pay: interrupted; a payment under way is picked up by the next run", err=True)
        sys.exit(130)
    sys.exit(EXIT_HTTP if status >= 400 else 0)


def _exit_code(error: Exception) -> int:
    from gateway.errors import BuyerError, ChallengeError, InvoiceError, OutageError, PaymentFailed

    if isinstance(error, BuyerError):
        return _EXITS.get(error.code, EXIT_NETWORK)
    if isinstance(error, ChallengeError | InvoiceError):
        return EXIT_CHALLENGE
    return EXIT_PAYMENT if isinstance(error, PaymentFailed | OutageError) else EXIT_NETWORK


async def _run(options: Options) -> int:
    from gateway.client import Budget, Buyer, FileTokenStore, MemoryTokenStore
    from gateway.client.tokens import NOTHING

    max_price = _amount("--max-price", options.max_price) if options.max_price else None
    if max_price is None and not options.dry_run:
        raise click.UsageError("--max-price is missing (or L402_MAX_PRICE): how much may it cost, such as '100 sat'?")
    if options.output is not None and not options.output.parent.is_dir():
        raise click.UsageError(f"--output: no folder {options.output.parent}")
    headers, method = _headers(options), options.method or ("GET" if options.data is None else "POST")
    budget = Budget(NOTHING if max_price is None else max_price, max_fee_msat=_amount("--max-fee", options.max_fee))
    payer = None if options.dry_run else _payer(options)
    buyer = Buyer(
        payer,
        budget=budget,
        tokens=MemoryTokenStore() if options.no_store else FileTokenStore(options.tokens),
        networks={_network(options)},
        reuse=not options.new,
        on_offer=lambda offer: _say(options, f"price: {_priced(offer)}; paying with the {options.wallet} wallet"),
    )
    try:
        with _body(options.data) as body:
            if options.dry_run:
                quote = await buyer.quote(method, options.url, headers=headers, data=body)
                _show_quote(quote)
                if quote.offer is not None and max_price is not None:
                    budget.check(quote.offer.price_msat)
                return 0 if quote.offer is not None else quote.status
            return await _fetch(options, buyer, method, headers, body)
    finally:
        await buyer.aclose()
        if payer is not None:
            await payer.aclose()


async def _fetch(
    options: Options, buyer: Buyer, method: str, headers: list[tuple[str, str]], body: bytes | Path | None
) -> int:
    async with buyer.fetch(method, options.url, headers=headers, data=body) as answer:
        _say(options, _how(answer))
        with ExitStack() as stack:
            out: IO[bytes] = sys.stdout.buffer
            if options.output is not None:
                out = stack.enter_context(options.output.open("wb"))
            if options.include:
                out.write(_head(answer))
            async for chunk in answer.chunks():
                out.write(chunk)
                out.flush()
        return answer.status


def _payer(options: Options) -> Payer:
    if options.wallet == "sim":
        from gateway.lightning.simulated import SimulatedPayer

        try:
            return SimulatedPayer(options.sim_node)
        except ValueError as error:
            raise click.UsageError(f"--sim-node: {error}") from None
    if options.lnd_cert is None or options.lnd_macaroon is None:
        raise click.UsageError("--wallet lnd wants --lnd-cert and --lnd-macaroon")
    from gateway.lightning.lnd.payer import LndPayer
    from gateway.lightning.settings import FromFile, LndSettings

    return LndPayer(
        LndSettings(
            network=_network(options),
            address=options.lnd_address,
            tls_cert=FromFile(options.lnd_cert),
            macaroon=FromFile(options.lnd_macaroon),
        )
    )


def _network(options: Options) -> str:
    return options.network or ("regtest" if options.wallet == "sim" else "mainnet")


def _amount(name: str, text: str) -> Msat:
    from gateway.l402.amounts import parse_amount

    try:
        return parse_amount(text)
    except ValueError as error:
        raise click.UsageError(f"{name}: {error}") from None


def _headers(options: Options) -> list[tuple[str, str]]:
    headers = []
    for line in options.header:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise click.UsageError("-H wants 'NAME: VALUE'")
        headers.append((name.strip(), value.strip()))
    if options.data is not None and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", "application/x-www-form-urlencoded"))
    return headers


@contextmanager
def _body(data: str | None) -> Iterator[bytes | Path | None]:
    """What to send. Standard input is kept in a file of mode 0600: the paid repeat needs it again."""
    import shutil
    import tempfile

    if data is None or not data.startswith("@"):
        yield None if data is None else data.encode()
    elif data != "@-":
        path = Path(data[1:])
        if not path.is_file():
            raise click.UsageError(f"--data: no file {path}")
        yield path
    else:
        with tempfile.NamedTemporaryFile(prefix="gateway-pay-") as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool, COPY_BYTES)
            spool.flush()
            yield Path(spool.name)


def _show_quote(quote: Quote) -> None:
    from gateway.l402.amounts import format_amount

    if quote.offer is None:
        click.echo(f"free: the server answers {quote.status} without asking for payment")
        return
    click.echo(f"price: {format_amount(quote.offer.price_msat)}")
    click.echo(f"invoice: {quote.offer.network}, for {quote.offer.description or 'nothing in particular'}")
    click.echo("would use a stored token first" if quote.stored else "would pay: no stored token fits")


def _priced(offer: Offer) -> str:
    from gateway.l402.amounts import format_amount

    return f"{format_amount(offer.price_msat)} ({offer.description or 'no stated purpose'})"


def _how(answer: Answer) -> str:
    from gateway.client import Source
    from gateway.l402.amounts import format_amount

    purchase = answer.purchase
    if purchase.source is Source.FREE and answer.status >= 400:
        return f"{answer.status}: nothing paid"
    if purchase.source in {Source.FREE, Source.TOKEN}:
        return f"{answer.status}, {purchase.source}: nothing paid"
    price, fee = format_amount(purchase.price_msat), format_amount(purchase.fee_msat)
    return f"{answer.status}, {purchase.source}: {price}, fee {fee}"


def _head(answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {answer.response.reason or ''}".rstrip().encode()]
    lines += [name + b": " + value for name, value in answer.response.raw_headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _say(options: Options, text: str) -> None:
    if not options.quiet:
        click.echo(text, err=True)
