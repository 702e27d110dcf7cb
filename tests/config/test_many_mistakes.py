"""Many mistakes at once, and secrets where they don't belong."""

# ruff: noqa: E501 - the messages are tested as they are printed

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from tests.config.written import SIMULATED, load, refused, service

CANARY = "canary-4f1d9c"
"""A secret; it may occur in no message."""

EIGHT = """\
lisen: 127.0.0.1:8402
lightning:
  backend: lnd
  network: regtset
  address: 127.0.0.1:10009
  tls_cert: ./tls.cert
services:
  - name: weather
    upstream: 127.0.0.1:9000
    price: 10
    capabilities: [read]
    routes:
      - {match: {path: /weather/history/**}, price: 20 sat, capability: write}
      - {match: {path: /weather/status}, prise: free}
  - name: weather
    upstream: demo
    price: 3 sat
    price: 5 sat
"""


def test_eight_mistakes_in_one_file_are_reported_in_one_go_with_line_and_column(tmp_path: Path) -> None:
    assert refused(tmp_path, EIGHT) == [
        "1:1: unknown key 'lisen' (did you mean listen?)",
        "3:3: lightning.macaroon: missing, expected a file such as ./gateway.macaroon, or the macaroon in hex",
        "4:12: lightning.network: an unknown word (did you mean regtest?), expected mainnet, testnet, signet or regtest",
        "9:15: services[0].upstream: no http:// or https:// in front, expected a URL such as http://127.0.0.1:9000, or demo",
        "10:12: services[0].price: a number without its unit, expected a price such as 10 sat, 1500 msat or free",
        "13:73: services[0].routes[0].capability: not in this service's capabilities, expected one of them",
        "14:42: services[0].routes[1]: unknown key 'prise' (did you mean price?)",
        "15:11: services[1].name: the same as on line 8, expected another",
        "18:5: services[1].price: written twice, the first time on line 17",
    ]


def test_every_message_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(tmp_path, EIGHT)
    assert all(line.startswith(f"{tmp_path / 'g.yaml'}:") for line in str(refusal.value).splitlines())


@pytest.mark.parametrize("mistake", ["foo", "{}", "{name: 5 5}", "{name: b, upstream: x, routes: [5]}", "[a]", "~"])
def test_a_broken_service_does_not_hide_mistakes_across_the_others(tmp_path: Path, mistake: str) -> None:
    text = service("capabilities: [a, a]") + f"\n- {mistake}\n- {{name: a, upstream: demo, price: free}}\n"
    messages = refused(tmp_path, text)
    assert "6:21: services[0].capabilities[1]: the same as on line 6, expected another" in messages
    assert "8:10: services[2].name: the same as on line 3, expected another" in messages


def test_a_check_that_depends_on_a_wrong_value_says_nothing(tmp_path: Path) -> None:
    text = service("auth: of", "capabilities: [A]", "routes: [{match: {path: /a}, capability: b}]", without="price")
    paths = [message.split(": ")[1] for message in refused(tmp_path, text)]
    assert paths == ["services[0].auth", "services[0].capabilities[0]"]


FIELDS = [
    "listen: @",
    "public_url: @",
    "storage: @",
    "storage: mysql://u:@@h/d",
    "storage: postgresql://u:@",
    "trusted_proxies: [@]",
    "invalid_credential_status: @",
    "lightning: {backend: @}",
    "lightning: {backend: simulated, network: @}",
    "lightning: {backend: simulated, listen: @}",
    "lightning: {backend: simulated, invoice_expiry: @}",
    "lightning: {backend: simulated, macaroon: @}",
    "lightning: {backend: lnd, network: @, address: @, tls_cert: -----BEGIN @, macaroon: AgED@}",
    "lightning: @",
    "services: @",
    "services: [@]",
    "services: [{name: '@ x'}]",
    "services: [{name: a, upstream: @, price: @, tier: @, valid_for: @, auth: @, max_body: @}]",
    "services: [{name: a, upstream: 'http://u:@@h', price: [@], timeouts: {connect: @}}]",
    "services: [{name: a, upstream: 'http://h?@', price: {@: @}}]",
    "services: [{name: a, match: {host: '@ ', path: '@', methods: [@]}}]",
    "services: [{name: a, match: {path: '/@*'}}]",
    "services: [{name: a, request_headers: {'@ @': @, X: \"@\\n\", Y: {file: @}, Z: {fil: @}, W: [@]}}]",
    "services: [{name: a, request_headers: @, capabilities: @, routes: @, upstream_ca: @, strip_prefix: @}]",
    "services: [{name: a, capabilities: ['@ '], routes: [{match: {path: /a}, capability: '@', name: 'default @'}]}]",
    "secret value @: 1",
    "? {@: @}\n: 1",
    "x: *@",
    "x: !@ y",
    "x: !e!@ y",
    "x: &@ 1\ny: &@ 2",
    'x: "@',
    'x: "\\@"',
    "x: [@",
    "x: @: @",
    "%@",
    "@\n  @: @",
    "<<: @",
]


@pytest.mark.parametrize("line", FIELDS)
@pytest.mark.parametrize("secret", [CANARY, "${SECRET}", "'${SECRET}'"])
def test_a_secret_in_a_wrong_field_is_not_printed(tmp_path: Path, line: str, secret: str) -> None:
    key = line.partition(":")[0]
    rest = {"lightning": SIMULATED, "services": "services: [{name: z, upstream: demo, price: free}]"}
    text = "\n".join([line.replace("@", secret), *(other for name, other in rest.items() if name != key)])
    with pytest.raises(ConfigError) as refusal:
        load(tmp_path, text, {"SECRET": f"{CANARY} !"})
    assert CANARY not in str(refusal.value)
    assert CANARY not in repr(refusal.value.problems)


def test_a_secret_that_came_through_the_environment_stays_out_of_every_repr(tmp_path: Path) -> None:
    text = service("request_headers: {X-Api-Key: '${SECRET}'}") + "\nstorage: postgresql://u:${SECRET}@h/d\n"
    settings = load(tmp_path, text, {"SECRET": CANARY})
    assert settings.routes[0].service.set_headers == (("X-Api-Key", CANARY),)
    assert settings.storage_url == f"postgresql://u:{CANARY}@h/d"
    assert CANARY not in repr(settings)
