"""From the models of a configuration to the values that the rooms below work with."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pydantic import SecretStr

from gateway.config.models import Configuration, HeaderFile, HeaderValue, LndLightning, RouteEntry, ServiceEntry
from gateway.config.settings import Settings
from gateway.config.yaml_tree import Loc
from gateway.errors import Problem
from gateway.l402.amounts import Msat
from gateway.lightning.settings import LightningSettings, LndSettings, SimulatedSettings
from gateway.paywall.terms import DEFAULT_ROUTE, Terms
from gateway.proxy.hosts import with_port
from gateway.proxy.services import PathRewrite, Pattern, Route, Service, Timeouts

Row = tuple[Loc, Route]
"""A row of the route table and where it was written."""

_MOST_WORDS = 40
"""Characters of a path in a route's id; with the hash at most 49 of the 64 that a name may have."""


def compile_rows(configuration: Configuration) -> tuple[Row, ...]:
    """The route table in matching order: for each service its routes, then its own price."""
    rows: list[Row] = []
    for index, entry in enumerate(configuration.services):
        service = _service(entry)
        for number, route in enumerate(entry.routes):
            rows.append((("services", index, "routes", number), _row(entry, service, route)))
        rows.append((("services", index), _row(entry, service, None)))
    return tuple(rows)


def compile_settings(
    configuration: Configuration, rows: tuple[Row, ...], *, source: Path, warnings: tuple[Problem, ...]
) -> Settings:
    """The whole file as one frozen value."""
    return Settings(
        source=source,
        listen=configuration.listen,
        public_url=configuration.public_url,
        storage_url=configuration.storage.get_secret_value(),
        lightning=_lightning(configuration),
        invoice_expiry_s=configuration.lightning.invoice_expiry,
        strict=configuration.lightning.strict,
        trusted_proxies=configuration.trusted_proxies,
        invalid_credential_status=configuration.invalid_credential_status,
        routes=tuple(route for _, route in rows),
        fast_path=configuration.fast_path,
        warnings=warnings,
    )


def route_id(path: str | None, methods: tuple[str, ...]) -> str:
    """The id of a route without a name: the same for the same ``match``, wherever it stands.

    Tokens are bound to it, so it depends on nothing else: moving a route, or renaming its service, keeps it. The
    path's own words come first, for people who read the table and the log; the hash makes it the route's own.
    """
    written = f"{','.join(sorted(methods))} {path or ''}"
    words = re.sub(r"[^a-z0-9]+", "-", (path or "").lower()).strip("-")[:_MOST_WORDS]
    digest = hashlib.sha256(written.encode()).hexdigest()[:8]
    return f"{words}-{digest}" if words else digest


def _lightning(configuration: Configuration) -> LightningSettings:
    node = configuration.lightning
    if isinstance(node, LndLightning):
        return LndSettings(
            network=node.network,
            address=with_port(*node.address),
            tls_cert=node.tls_cert,
            macaroon=node.macaroon,
            private_hints=node.private_hints,
        )
    return SimulatedSettings(network=node.network, listen=node.listen, data=node.data)


def _service(entry: ServiceEntry) -> Service:
    return Service(
        name=entry.name,
        origin=entry.upstream.origin,
        rewrite=PathRewrite(entry.strip_prefix, entry.upstream.base + entry.prefix),
        timeouts=Timeouts(entry.timeouts.connect, entry.timeouts.first_byte, entry.timeouts.idle),
        set_headers=tuple((name, _secret(value)) for name, value in entry.request_headers.items()),
        forward_credentials=entry.forward_credentials,
        ca_file=entry.upstream_ca,
        max_body_bytes=entry.max_body,
    )


def _row(entry: ServiceEntry, service: Service, route: RouteEntry | None) -> Route:
    match = route.match if route else None
    methods = (match.methods if match else ()) or entry.match.methods
    path = (match.path if match else None) or entry.match.path
    terms = Terms(
        service=entry.name,
        route=(route.name or route_id(route.match.path, route.match.methods)) if route else DEFAULT_ROUTE,
        price_msat=(route.price if route else entry.price) or Msat(0),
        auth=(route.auth if route else None) or entry.auth,
        tier=entry.tier,
        valid_for_s=(route.valid_for if route else None) or entry.valid_for,
        capabilities=entry.capabilities,
        capability=route.capability if route else None,
    )
    return Route(Pattern(entry.match.host, path, frozenset(methods)), service, terms)


def _secret(value: HeaderValue) -> str:
    text: SecretStr = value.file if isinstance(value, HeaderFile) else value
    return text.get_secret_value()
