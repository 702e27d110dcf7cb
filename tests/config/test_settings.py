"""What a configuration comes to."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path

import pytest

from gateway.config import Settings, load_settings
from gateway.config.compile import route_id
from gateway.config.models import UpstreamTimeouts
from gateway.lightning.settings import FromFile, Inline, LndSettings, SimulatedSettings
from gateway.paywall.terms import Auth, Terms
from gateway.proxy.services import Origin, PathRewrite, Pattern, Route, Service, Timeouts
from gateway.proxy.table import RouteTable
from gateway.storage.location import SqliteLocation, parse_location
from tests.config.written import CERTIFICATE, LND, SIMULATED, load, refused, service

WEATHER = """\
listen: 127.0.0.1:8402
storage: sqlite:///./gateway.db
lightning:
  backend: lnd
  network: regtest
  address: 127.0.0.1:10009
  tls_cert: ./tls.cert
  macaroon: ./gateway.macaroon
  invoice_expiry: 10m
services:
  - name: weather
    match: {host: api.example.com, path: /weather/**, methods: [GET, POST]}
    upstream: http://127.0.0.1:9000
    price: 1500 msat
    valid_for: 1h
    routes:
      - {match: {path: /weather/history/**}, price: 20 sat}
      - {match: {path: /weather/status}, price: free}
"""


def test_the_smallest_file_sells_every_path_of_one_api(tmp_path: Path) -> None:
    text = "lightning: {backend: simulated}\nservices:\n- {name: a, upstream: 'http://127.0.0.1:9000', price: 10 sat}\n"
    sold = Service("a", Origin("http", "127.0.0.1", 9000))
    assert load(tmp_path, text) == Settings(
        source=tmp_path / "g.yaml",
        listen=("127.0.0.1", 8402),
        public_url=None,
        storage_url=f"sqlite:///{tmp_path}/gateway.db",
        lightning=SimulatedSettings("regtest", ("127.0.0.1", 8403), tmp_path / "simulated-node.db"),
        invoice_expiry_s=600,
        strict=False,
        trusted_proxies=(),
        invalid_credential_status=402,
        routes=(Route(Pattern(), sold, Terms("a", "default", 10_000)),),  # type: ignore[arg-type]
    )


def test_routes_stand_before_their_services_own_price_in_the_order_of_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, WEATHER)
    assert [(route.pattern.path, route.terms.price_msat, route.terms.valid_for_s) for route in settings.routes] == [
        ("/weather/history/**", 20_000, 3_600),
        ("/weather/status", 0, 3_600),
        ("/weather/**", 1_500, 3_600),
    ]
    assert {(route.pattern.host, route.pattern.methods) for route in settings.routes} == {
        ("api.example.com", frozenset({"GET", "POST"}))
    }
    assert len({id(route.service) for route in settings.routes}) == 1
    assert settings.lightning == LndSettings(
        network="regtest",
        address="127.0.0.1:10009",
        tls_cert=FromFile(tmp_path / "tls.cert"),
        macaroon=FromFile(tmp_path / "gateway.macaroon"),
    )
    assert RouteTable(settings.routes).routes == settings.routes


def test_every_key_reaches_its_place(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    text = f"""\
listen: "[::1]:0"
public_url: https://API.example.com/
storage: postgresql://u:p@h:5433/d?sslmode=require
trusted_proxies: [10.0.0.0/8, 192.0.2.7, "2001:db8::/32"]
invalid_credential_status: 401
fast_path: false
lightning:
  backend: lnd
  network: signet
  address: "[2001:db8::1]:10009"
  tls_cert: "-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n"
  macaroon: {"0201036C6E64" * 8}
  private_hints: true
  invoice_expiry: 90s
  strict: true
services:
  - name: shop
    match: {{host: "*.Example.com", path: /v1/**, methods: [GET, POST, DELETE]}}
    upstream: https://Internal.example:8443/base/
    upstream_ca: {CERTIFICATE}
    strip_prefix: /v1
    prefix: /v2
    timeouts: {{connect: 500ms, first_byte: 2m, idle: 1h}}
    max_body: 10MB
    request_headers: {{X-Api-Key: {{file: key}}, Authorization: Bearer x}}
    price: 5 sat
    auth: optional
    valid_for: 7d
    tier: 3
    capabilities: [read, write]
    routes:
      - {{name: w, match: {{methods: [POST]}}, price: 6 sat, auth: required, valid_for: 1h, capability: write}}
"""
    settings = load(tmp_path, text)
    assert settings.listen == ("::1", 0)
    assert settings.public_url == "https://api.example.com"
    assert settings.storage_url == "postgresql://u:p@h:5433/d?sslmode=require"
    assert settings.trusted_proxies == tuple(
        ipaddress.ip_network(text) for text in ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32")
    )
    assert settings.invalid_credential_status == 401
    assert not settings.fast_path
    assert (settings.invoice_expiry_s, settings.strict) == (90, True)
    assert settings.lightning == LndSettings(
        network="signet",
        address="[2001:db8::1]:10009",
        tls_cert=Inline(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        macaroon=Inline(bytes.fromhex("0201036C6E64" * 8)),
        private_hints=True,
    )
    route, own = settings.routes
    assert route.service == Service(
        name="shop",
        origin=Origin("https", "internal.example", 8443),
        rewrite=PathRewrite("/v1", "/base/v2"),
        timeouts=Timeouts(0.5, 120.0, 3_600.0),
        set_headers=(("X-Api-Key", "s3cret"), ("Authorization", "Bearer x")),
        ca_file=str(CERTIFICATE),
        max_body_bytes=10_000_000,
    )
    assert route.pattern == Pattern("*.example.com", "/v1/**", frozenset({"POST"}))
    assert own.pattern == Pattern("*.example.com", "/v1/**", frozenset({"GET", "POST", "DELETE"}))
    words = ("read", "write")
    assert route.terms == Terms("shop", "w", 6_000, Auth.REQUIRED, 3, 3_600, words, "write")  # type: ignore[arg-type]
    assert own.terms == Terms("shop", "default", 5_000, Auth.OPTIONAL, 3, 604_800, words)  # type: ignore[arg-type]


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = load(tmp_path, service())
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.strict = True  # type: ignore[misc]


def test_defaults_are_the_ones_of_the_rooms_below() -> None:
    written = UpstreamTimeouts()
    assert Timeouts(written.connect, written.first_byte, written.idle) == Timeouts()
    assert Settings.__dataclass_fields__["warnings"].default == ()


def test_a_free_route_needs_no_price_where_auth_is_off(tmp_path: Path) -> None:
    [route] = load(tmp_path, service("auth: off", without="price")).routes
    assert route.terms.free


def test_a_route_may_ask_for_payment_where_its_service_does_not(tmp_path: Path) -> None:
    text = service("auth: off", "routes: [{match: {path: /a}, price: 1 sat, auth: required}]", without="price")
    first, own = load(tmp_path, text).routes
    assert (first.terms.free, own.terms.free) == (False, True)


def test_a_route_is_known_by_its_name_or_by_its_match_alone(tmp_path: Path) -> None:
    def ids(text: str) -> list[str]:
        return [route.terms.route for route in load(tmp_path, text).routes]

    match = "match: {path: /a, methods: [PUT, GET]}"
    first = ids(service(f"routes: [{{{match}, price: 1 sat}}]"))
    moved = ids(
        service("name: b", f"routes: [{{name: x, match: {{path: /x}}, price: free}}, {{{match}, price: 9 sat}}]")
    )
    assert first[1] == moved[2] == "default"
    assert first[0] == moved[1] == "a-33e80e2e"
    assert moved[0] == "x"
    assert route_id("/a", ("GET", "PUT")) == first[0] != route_id("/a", ("GET",))


def test_relative_paths_are_relative_to_the_file_wherever_the_gateway_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "g.yaml").write_text(f"{service()}\nstorage: sqlite:///data/../gw.db\n")
    monkeypatch.chdir(tmp_path)
    settings = load_settings(Path("conf/g.yaml"), {})
    assert settings.storage_url == f"sqlite:///{tmp_path}/conf/data/../gw.db"
    assert isinstance(settings.lightning, SimulatedSettings)
    assert settings.lightning.data == tmp_path / "conf" / "simulated-node.db"
    assert parse_location(settings.storage_url) == SqliteLocation(tmp_path / "conf/data/../gw.db")


def test_absolute_and_home_paths_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/seller")
    text = service(lightning=LND.replace("tls.cert", "~/.lnd/tls.cert")) + "\nstorage: sqlite:////var/lib/gw.db\n"
    settings = load(tmp_path, text)
    assert settings.storage_url == "sqlite:////var/lib/gw.db"
    assert isinstance(settings.lightning, LndSettings)
    assert settings.lightning.tls_cert == FromFile(Path("/home/seller/.lnd/tls.cert"))


def test_a_mounted_file_that_is_a_link_keeps_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "g.yaml").write_text(service())
    (tmp_path / "g.yaml").symlink_to(tmp_path / "versions" / "g.yaml")
    assert load_settings(tmp_path / "g.yaml", {}).storage_url == f"sqlite:///{tmp_path}/gateway.db"


def test_the_demo_upstream_gets_its_port_when_it_has_one(tmp_path: Path) -> None:
    text = (
        f"{SIMULATED}\nservices:\n"
        "- {name: a, match: {path: /a/*}, upstream: demo, price: 1 sat, routes: [{match: {path: /a/b}, price: free}]}\n"
        "- {name: b, match: {path: /b}, upstream: demo, price: free}\n"
        "- {name: c, upstream: 'http://127.0.0.1:9000', price: free}\n"
    )
    settings = load(tmp_path, text)
    assert settings.uses_demo_upstream
    placed = settings.with_demo_upstream(4_321)
    assert not placed.uses_demo_upstream
    assert [route.service.origin.port for route in placed.routes] == [4_321, 4_321, 4_321, 9_000]
    assert placed.routes[0].service is placed.routes[1].service
    assert [route.terms for route in placed.routes] == [route.terms for route in settings.routes]
    assert settings.uses_demo_upstream


def test_an_ordinary_upstream_needs_no_demo(tmp_path: Path) -> None:
    settings = load(tmp_path, service())
    assert not settings.uses_demo_upstream
    assert settings.with_demo_upstream(1) == settings


@pytest.mark.parametrize(
    ("upstream", "origin", "base"),
    [
        ("http://h", Origin("http", "h", 80), ""),
        ("https://h", Origin("https", "h", 443), ""),
        ("http://H.Example:8080/", Origin("http", "h.example", 8080), ""),
        ("http://[::1]", Origin("http", "::1", 80), ""),
        ("http://[::1]:9000/v1/", Origin("http", "::1", 9000), "/v1"),
        ("http://my_service:9000/a/b", Origin("http", "my_service", 9000), "/a/b"),
    ],
)
def test_an_upstream_is_an_origin_and_perhaps_a_path(tmp_path: Path, upstream: str, origin: Origin, base: str) -> None:
    sold = load(tmp_path, service(f"upstream: '{upstream}'")).routes[0].service
    assert (sold.origin, sold.rewrite.prefix) == (origin, base)


@pytest.mark.parametrize("backend", ["simulated", "lnd"])
def test_the_upstream_may_be_another_port_of_the_same_machine(tmp_path: Path, backend: str) -> None:
    text = service("upstream: http://localhost:9000", lightning=LND if backend == "lnd" else SIMULATED)
    assert load(tmp_path, f"{text}\nlisten: 0.0.0.0:8402\n").routes


@pytest.mark.parametrize(
    ("upstream", "top"),
    [
        ("http://127.0.0.1:8402", "listen: 0.0.0.0:8402"),
        ("http://localhost:8402", "listen: 127.0.0.1:8402"),
        ("http://[::1]:8402", "listen: '[::]:8402'"),
        ("http://gw.example:8402", "listen: gw.example:8402"),
    ],
)
def test_an_upstream_that_is_the_gateway_itself_is_refused(tmp_path: Path, upstream: str, top: str) -> None:
    [message] = refused(tmp_path, f"{service(f'upstream: {upstream!r}')}\n{top}\n")
    assert message.startswith("4:13: services[0].upstream: the address at ")
