"""The types of configuration fields: each reads the text that stands in the file.

A message has two halves, "what, expected what". It never repeats the text: even a harmless field may hold a misplaced
secret, and the place in the file says which text is meant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, SecretStr, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from gateway.config import addresses, files, header_rules, patterns, quantities
from gateway.config.addresses import HostPort, Upstream
from gateway.config.suggestions import did_you_mean
from gateway.l402.amounts import Msat
from gateway.l402.caveats import (
    CAPABILITIES_SUFFIX,
    MAX_TIER,
    PREIMAGE,
    SERVICES,
    VALID_UNTIL_SUFFIX,
    is_name,
    is_service_name,
)
from gateway.lightning.settings import NETWORKS, FromFile, Inline, Material
from gateway.paywall.terms import DEFAULT_ROUTE, Auth
from gateway.pricing.price import parse_price
from gateway.proxy.client_address import Network

PROBLEM = "gateway"
"""The type of the pydantic errors raised here; their message is complete."""

A_PRICE = "a price such as 10 sat, 1500 msat or free"


@dataclass(frozen=True, slots=True)
class Text:
    """A field's type: ``read(text, folder)`` gives the value, or raises ``ValueError`` saying what is wrong.

    ``folder`` is the configuration file's; it reaches pydantic as the validation context.
    """

    expected: str
    read: Callable[[str, Path], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A validator in place of whatever the annotated type would bring."""
        return core_schema.with_info_plain_validator_function(self.validate)

    def validate(self, value: object, info: ValidationInfo) -> Any:
        """Called by pydantic for what stands in the file, and for defaults, which are written the same way."""
        if not isinstance(value, str):
            raise self._problem(what_is(value))
        try:
            return self.read(value, info.context or Path())
        except ValueError as error:
            raise self._problem(str(error)) from None

    def _problem(self, what: str) -> PydanticCustomError:
        return PydanticCustomError(PROBLEM, "{message}", {"message": f"{what}, expected {self.expected}"})


def what_is(value: object) -> str:
    """What stands in the file, in words and without its content."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, tuple) else "a text"


def _text(expected: str, read: Callable[[str], Any]) -> Text:
    return Text(expected, lambda text, _folder: read(text))


def _choice(*choices: str, turn: Callable[[str], Any] = str) -> Text:
    """One of a few words, with a suggestion for others that are close."""

    def read(text: str) -> Any:
        if text in choices:
            return turn(text)
        raise ValueError("an unknown word" + did_you_mean(text, choices))

    return _text(", ".join(choices[:-1]) + " or " + choices[-1], read)


def _timespan(longest: str) -> Text:
    return _text("a length of time such as 90s, 10m, 1h or 7d", partial(quantities.parse_seconds, longest=longest))


def _read_name(text: str) -> str:
    if not is_name(text):
        raise ValueError("not a name")
    return text


def _read_service_name(text: str) -> str:
    """Tokens hold ``<name>_capabilities`` and ``<name>_valid_until`` beside ``services``, ``preimage`` and ``gw_…``."""
    _read_name(text)
    ends_as_a_condition = text.endswith((CAPABILITIES_SUFFIX, VALID_UNTIL_SUFFIX))
    if not is_service_name(text) or text in {SERVICES, PREIMAGE} or ends_as_a_condition:
        raise ValueError("a name that tokens use for something else")
    return text


def _read_route_name(text: str) -> str:
    if _read_name(text) == DEFAULT_ROUTE:
        raise ValueError("the name of the service's own price")
    return text


def _read_play_network(text: str, folder: Path) -> str:
    if text == "mainnet":
        raise ValueError("real money, which a simulated node cannot take")
    return str(_PLAY_NETWORKS.read(text, folder))


def _read_seconds(text: str) -> float:
    return quantities.parse_milliseconds(text, longest="1d") / 1_000


def _read_storage(text: str, folder: Path) -> SecretStr:
    return SecretStr(addresses.parse_storage(text, folder))


def _read_header_text(text: str) -> SecretStr:
    return SecretStr(header_rules.parse_header_value(text))


def _read_secret_file(text: str, folder: Path) -> SecretStr:
    return _read_header_text(files.read_secret(files.absolute(text, folder)))


def _read_certificates(text: str, folder: Path) -> str:
    path = files.absolute(text, folder)
    files.check_certificates(path)
    return str(path)


def _read_lnd_certificate(text: str, folder: Path) -> Material:
    if not text.startswith("-----BEGIN"):
        return FromFile(files.absolute(text, folder))
    if not text.startswith("-----BEGIN CERTIFICATE-----") or "-----END CERTIFICATE-----" not in text:
        raise ValueError("PEM text that is not a certificate")
    return Inline(text.encode())


def _read_lnd_macaroon(text: str, folder: Path) -> Material:
    if quantities.is_hex(text):
        return Inline(bytes.fromhex(text))
    if text.startswith("AgED"):
        raise ValueError("a macaroon in base64")
    return FromFile(files.absolute(text, folder))


_NAME = "1 to 64 of a-z, 0-9, '_' and '-'"
_SERVICE_NAME = _NAME + ", but not gw, gw_…, services, preimage, …_capabilities or …_valid_until"
_PLAY_NETWORKS = _choice("regtest", "signet", "testnet")
_AUTH = _choice(*Auth, turn=Auth)
_PATH_PATTERN = _text("a path such as /weather/**, /weather/*/today or /weather", patterns.parse_path_pattern)

ServiceName = Annotated[str, _text(_SERVICE_NAME, _read_service_name)]
RouteName = Annotated[str | None, _text(f"{_NAME}, but not default", _read_route_name)]
Capability = Annotated[str, _text(_NAME, _read_name)]
OptionalCapability = Annotated[str | None, _text(_NAME, _read_name)]
Price = Annotated[Msat | None, _text(A_PRICE, parse_price)]
AuthMode = Annotated[Auth, _AUTH]
OptionalAuthMode = Annotated[Auth | None, _AUTH]
Tier = Annotated[int, _text(f"a whole number from 0 to {MAX_TIER}", partial(quantities.parse_whole, most=MAX_TIER))]
Switch = Annotated[bool, _text("true or false", quantities.parse_switch)]
InvoiceExpiry = Annotated[int, _timespan("7d")]
ValidFor = Annotated[int | None, _timespan("3650d")]
Timeout = Annotated[float, _text("a length of time such as 500ms, 3s or 1m", _read_seconds)]
Size = Annotated[int | None, _text("a size such as 10MB, 512KiB or 1000000", quantities.parse_size)]

Listen = Annotated[
    HostPort, _text("127.0.0.1:8402 or the like, or 0.0.0.0:8402 for every address", addresses.parse_host_port)
]
LoopbackListen = Annotated[HostPort, _text("a loopback address such as 127.0.0.1:8403", addresses.parse_loopback)]
NodeAddress = Annotated[HostPort, _text("a host and port such as 127.0.0.1:10009", addresses.parse_node_address)]
PublicUrl = Annotated[str | None, _text("an absolute URL such as https://api.example.com", addresses.parse_public_url)]
TrustedProxy = Annotated[Network, _text("a network such as 10.0.0.0/8, or one address", addresses.parse_network)]
StorageUrl = Annotated[SecretStr, Text("sqlite:///./gateway.db or postgresql://user:password@host/name", _read_storage)]
CredentialStatus = Annotated[int, _choice("402", "401", turn=int)]
BackendName = Annotated[str, _choice("simulated", "lnd")]
AnyNetwork = Annotated[str, _choice(*NETWORKS)]
PlayNetwork = Annotated[str, Text(_PLAY_NETWORKS.expected, _read_play_network)]
DataFile = Annotated[Path, Text("the name of a file", files.absolute)]
LndCertificate = Annotated[Material, Text("a file such as ./tls.cert, or its PEM text", _read_lnd_certificate)]
LndMacaroon = Annotated[Material, Text("a file such as ./gateway.macaroon, or the macaroon in hex", _read_lnd_macaroon)]

Host = Annotated[str, _text("a host such as api.example.com or *.example.com", addresses.parse_match_host)]
PathPattern = Annotated[str, _PATH_PATTERN]
OptionalPathPattern = Annotated[str | None, _PATH_PATTERN]
Method = Annotated[str, _text("an HTTP method in capitals such as GET or POST", patterns.parse_method)]
UpstreamUrl = Annotated[Upstream, _text("a URL such as http://127.0.0.1:9000, or demo", addresses.parse_upstream)]
CertificateFile = Annotated[str | None, Text("a file of certificates in PEM form", _read_certificates)]
Prefix = Annotated[str, _text("a path such as /v1, without a '/' at the end", patterns.parse_prefix)]
HeaderName = Annotated[str, _text("a header such as X-Api-Key", header_rules.parse_header_name)]
HeaderText = Annotated[SecretStr, _text("a text, or {file: ./secret}", _read_header_text)]
SecretFile = Annotated[SecretStr, Text("a file that holds one line of text", _read_secret_file)]
