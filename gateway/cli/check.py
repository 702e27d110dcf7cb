"""``gateway check``: every mistake in a configuration, or the route table as it will be matched."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.exits import EXIT_CONFIG

if TYPE_CHECKING:
    from gateway.errors import Problem
    from gateway.proxy.services import Route

_COLUMNS = ("service", "route", "host", "methods", "path", "price", "valid for", "auth", "upstream")
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


@click.command(short_help="Find every mistake, or show the route table.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--try", "attempt", metavar="'GET https://host/path'", help="Say what this request would get.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def check(config: Path, attempt: str | None, as_json: bool) -> None:
    """Find every mistake in CONFIG, or show its route table in the order in which it is matched.

    \b
    Exit codes: 0 the configuration can be used (warnings go to stderr), 2 it cannot, or wrong usage.
    """
    import json

    from gateway.config import load_settings
    from gateway.errors import ConfigError

    request = _read_attempt(attempt) if attempt is not None else None
    try:
        settings = load_settings(config, os.environ)
    except ConfigError as error:
        _print_problems(error.problems, "")
        if as_json:
            click.echo(json.dumps({"problems": [_describe_problem(problem) for problem in error.problems]}, indent=2))
        sys.exit(EXIT_CONFIG)
    _print_problems(settings.warnings, "warning: ")
    answer = _answer(settings.routes, *request) if request else None
    if as_json:
        click.echo(json.dumps(_as_json(settings.routes, settings.warnings, answer), indent=2))
    elif answer is not None:
        _print_answer(answer)
    else:
        _print_table(settings.routes)


def _read_attempt(text: str) -> tuple[str, str, str, str]:
    """Method, scheme, authority and request target of ``GET https://host/path``; a browser's GET without a method."""
    words = text.split(" ")
    method, url = words if len(words) == 2 else ("GET", text)
    scheme, separator, rest = url.partition("://")
    if scheme.lower() not in {"http", "https"} or not separator or not rest.isascii() or not rest.isprintable():
        raise click.UsageError("--try wants a method and a URL, as in --try 'GET https://api.example.com/weather'")
    ends = [at for mark in "/?" if (at := rest.find(mark)) >= 0]
    authority, target = (rest[: min(ends)], rest[min(ends) :]) if ends else (rest, "/")
    return method, scheme.lower(), authority, target if target.startswith("/") else f"/{target}"


def _answer(routes: Sequence[Route], method: str, scheme: str, authority: str, target: str) -> dict[str, Any]:
    """What the gateway does with a request that has no credential."""
    from gateway.errors import RequestError
    from gateway.proxy.hosts import canonical_host
    from gateway.proxy.paths import canonical_target
    from gateway.proxy.request_head import check_request_head
    from gateway.proxy.table import NoRoute, RouteTable
    from gateway.server.answers import STATUS

    try:
        check_request_head(method, (1, 1), [(b"Host", authority.encode())])
        host = canonical_host(authority)
        accepted = canonical_target(target, scheme=scheme, host=host)
    except RequestError as error:
        return {"status": STATUS.get(error.code, 400), "error": error.code, "detail": str(error)}
    found = RouteTable(routes).match(host, accepted, method)
    if isinstance(found, NoRoute):
        allow = {"allow": list(found.allow)} if found.allow else {}
        return {"status": STATUS[found.code], "error": found.code, **allow}
    return _describe(found)


def _describe(route: Route) -> dict[str, Any]:
    """One row of the table. The upstream is shown without its path, which may hold a key."""
    from gateway.config.addresses import DEMO_ORIGIN
    from gateway.pricing.price import format_price

    origin, terms = route.service.origin, route.terms
    return {
        "service": terms.service,
        "route": terms.route,
        "host": route.pattern.host or "*",
        "methods": sorted(route.pattern.methods) or ["*"],
        "path": route.pattern.path,
        "price": format_price(terms.price_msat),
        "price_msat": terms.price_msat,
        "valid_for_s": terms.valid_for_s,
        "auth": terms.auth.value,
        "upstream": "demo" if origin == DEMO_ORIGIN else f"{origin.scheme}://{origin.authority}",
    }


def _describe_problem(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "path": problem.path,
        "message": problem.message,
    }


def _as_json(routes: Sequence[Route], warnings: Sequence[Problem], answer: dict[str, Any] | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "routes": [_describe(route) for route in routes],
        "warnings": [_describe_problem(problem) for problem in warnings],
    }
    return result if answer is None else {**result, "try": answer}


def _print_problems(problems: Sequence[Problem], prefix: str) -> None:
    for problem in problems:
        click.echo(f"{prefix}{problem}", err=True)


def _print_table(routes: Sequence[Route]) -> None:
    rows = [_COLUMNS, *(_cells(_describe(route)) for route in routes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    shown = row | {"methods": ",".join(row["methods"]), "valid for": _length_of_time(row["valid_for_s"])}
    if row["price_msat"] == 0:
        shown |= {"valid for": "-", "auth": "-"}  # nothing is sold here
    return tuple(str(shown[column]) for column in _COLUMNS)


def _print_answer(answer: dict[str, Any]) -> None:
    if "error" in answer:
        notes = [answer["error"]]
        notes += [answer["detail"]] if "detail" in answer else []
        notes += [f"allowed: {', '.join(answer['allow'])}"] if "allow" in answer else []
        click.echo(f"{answer['status']} {'; '.join(notes)}")
        return
    for name, cell in zip(_COLUMNS, _cells(answer), strict=True):
        click.echo(f"{name:<9}  {cell}")


def _length_of_time(seconds: int | None) -> str:
    if seconds is None:
        return "no end"
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds % size == 0), (1, "s"))
    return f"{seconds // size}{unit}"
