"""What may stand in a configuration file: one class per mapping, one field per key.

``config.example.yaml`` explains every key to people; a test keeps the two together.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from gateway.config import fields as f
from gateway.lightning.settings import SIMULATED_ENDPOINT

FEW = 500
"""How many routes of a service, headers or list items a configuration may have."""
MANY = 2_000
"""How many services: loading so many takes about a second, serving them costs no more than serving ten."""


class Model(BaseModel):
    """Closed, immutable, and silent about what was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


def written(default: str) -> Any:
    """A default, as it would stand in the file."""
    return Field(default=default, validate_default=True)


Methods = Annotated[tuple[f.Method, ...], Field(min_length=1, max_length=FEW)]


class ServiceMatch(Model):
    """Which requests belong to a service; no host, no methods = any."""

    host: f.Host = ""
    path: f.PathPattern = written("/**")
    methods: Methods = ()


class RouteMatch(Model):
    """Which of the service's requests a route prices; what is left out is as in the service."""

    path: f.OptionalPathPattern = None
    methods: Methods = ()


class RouteEntry(Model):
    """Another price for some of a service's requests."""

    name: f.RouteName = None
    match: RouteMatch
    price: f.Price = None
    auth: f.OptionalAuthMode = None
    valid_for: f.ValidFor = None
    capability: f.OptionalCapability = None


class UpstreamTimeouts(Model):
    """How long the upstream may take."""

    connect: f.Timeout = written("3s")
    first_byte: f.Timeout = written("60s")
    idle: f.Timeout = written("60s")


class HeaderFile(Model):
    """A header's value kept in a file of its own."""

    file: f.SecretFile


def _header_form(value: object) -> str:
    return "<file>" if isinstance(value, dict) else "<text>"


HeaderValue = Annotated[
    Annotated[f.HeaderText, Tag("<text>")] | Annotated[HeaderFile, Tag("<file>")], Discriminator(_header_form)
]


class ServiceEntry(Model):
    """One API for sale."""

    name: f.ServiceName
    match: ServiceMatch = ServiceMatch()
    upstream: f.UpstreamUrl
    upstream_ca: f.CertificateFile = None
    strip_prefix: f.Prefix = ""
    prefix: f.Prefix = ""
    timeouts: UpstreamTimeouts = UpstreamTimeouts()
    max_body: f.Size = None
    request_headers: Annotated[dict[f.HeaderName, HeaderValue], Field(max_length=FEW)] = {}
    forward_credentials: f.Switch = written("false")
    price: f.Price = None
    auth: f.AuthMode = written("required")
    valid_for: f.ValidFor = None
    tier: f.Tier = written("0")
    capabilities: Annotated[tuple[f.Capability, ...], Field(min_length=1, max_length=FEW)] = ()
    routes: Annotated[tuple[RouteEntry, ...], Field(max_length=FEW)] = ()


class SimulatedLightning(Model):
    """A Lightning node inside this process."""

    backend: f.BackendName
    network: f.PlayNetwork = written("regtest")
    listen: f.LoopbackListen = written(SIMULATED_ENDPOINT)
    data: f.DataFile = written("./simulated-node.db")
    invoice_expiry: f.InvoiceExpiry = written("10m")
    strict: f.Switch = written("false")


class LndLightning(Model):
    """A real lnd."""

    backend: f.BackendName
    network: f.AnyNetwork
    address: f.NodeAddress
    tls_cert: f.LndCertificate
    macaroon: f.LndMacaroon
    private_hints: f.Switch = written("false")
    invoice_expiry: f.InvoiceExpiry = written("10m")
    strict: f.Switch = written("false")


def _lightning_form(value: object) -> str:
    """By ``backend``; where that is missing or misspelt, by the other keys, so that their mistakes are found too."""
    if not isinstance(value, dict):
        return "<simulated>"
    backend = value.get("backend")
    if backend in {"simulated", "lnd"}:
        return f"<{backend}>"
    return "<lnd>" if {"address", "tls_cert", "macaroon", "private_hints"} & set(value) else "<simulated>"


Lightning = Annotated[
    Annotated[SimulatedLightning, Tag("<simulated>")] | Annotated[LndLightning, Tag("<lnd>")],
    Discriminator(_lightning_form),
]


class Configuration(Model):
    """The whole file."""

    listen: f.Listen = written("127.0.0.1:8402")
    public_url: f.PublicUrl = None
    storage: f.StorageUrl = written("sqlite:///./gateway.db")
    lightning: Lightning
    trusted_proxies: Annotated[tuple[f.TrustedProxy, ...], Field(max_length=FEW)] = ()
    invalid_credential_status: f.CredentialStatus = written("402")
    fast_path: f.Switch = written("true")
    services: Annotated[tuple[ServiceEntry, ...], Field(min_length=1, max_length=MANY)]


FORMS: dict[str, type[Model] | None] = {
    "<simulated>": SimulatedLightning,
    "<lnd>": LndLightning,
    "<file>": HeaderFile,
    "<text>": None,
}
"""The parts of pydantic's error locations that name an alternative, not a key."""
