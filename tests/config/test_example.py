"""config.example.yaml is the manual: it works, it names every key, and what it says about defaults is true."""

from __future__ import annotations

import asyncio
import http.client
import re
from collections import defaultdict
from pathlib import Path

import pytest

from gateway.config import load_settings
from gateway.config.models import (
    Configuration,
    HeaderFile,
    LndLightning,
    Model,
    RouteEntry,
    RouteMatch,
    ServiceEntry,
    ServiceMatch,
    SimulatedLightning,
    UpstreamTimeouts,
)
from gateway.lightning.settings import LndSettings, SimulatedSettings
from gateway.proxy.hosts import canonical_host
from gateway.proxy.paths import canonical_target
from gateway.proxy.services import Route
from gateway.proxy.table import RouteTable
from gateway.server.demo_upstream import DemoUpstream
from tests.config.written import load

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
TEXT = EXAMPLE.read_text()
MODELS: tuple[type[Model], ...] = (
    Configuration,
    SimulatedLightning,
    LndLightning,
    ServiceEntry,
    ServiceMatch,
    RouteEntry,
    RouteMatch,
    UpstreamTimeouts,
    HeaderFile,
)


def test_the_example_works_without_any_environment_variable_and_without_a_warning() -> None:
    settings = load_settings(EXAMPLE, {})
    assert settings.warnings == ()
    assert settings.uses_demo_upstream
    assert isinstance(settings.lightning, SimulatedSettings)
    assert {route.service.name for route in settings.routes if not route.terms.free} >= {"weather", "quotes", "echo"}


@pytest.mark.parametrize(
    ("method", "path", "service", "price_msat"),
    [
        ("GET", "/weather/today", "weather", 1_500),
        ("GET", "/weather/history/2026", "weather", 20_000),
        ("GET", "/weather/status", "weather", 0),
        ("GET", "/quotes/random", "quotes", 10_000),
        ("POST", "/echo", "echo", 2_000),
        ("GET", "/hello", "hello", 0),
        ("GET", "/", "front-page", 0),
    ],
)
async def test_the_example_sells_what_the_demo_upstream_has(
    method: str, path: str, service: str, price_msat: int
) -> None:
    table = RouteTable(load_settings(EXAMPLE, {}).routes)
    host = canonical_host("127.0.0.1:8402")
    route = table.match(host, canonical_target(path, scheme="http", host=host), method)
    assert isinstance(route, Route)
    assert (route.terms.service, route.terms.price_msat) == (service, price_msat)
    demo = DemoUpstream()
    await demo.start()
    try:
        connection = http.client.HTTPConnection(*demo.address, timeout=10)
        await asyncio.to_thread(connection.request, method, path)
        assert (await asyncio.to_thread(connection.getresponse)).status == 200
        connection.close()
    finally:
        await demo.aclose()


@pytest.mark.parametrize("model", MODELS)
def test_every_key_stands_in_the_example(model: type[Model]) -> None:
    missing = [key for key in model.model_fields if not re.search(rf"^[\s#{{-]*(.*[{{ ])?{key}:", TEXT, re.MULTILINE)]
    assert missing == []


def stated_defaults() -> dict[str, set[str]]:
    """What the example says: key -> defaults, each behind a key in the form ``key: value  # [default: x]``."""
    stated = defaultdict(set)
    for key, default in re.findall(r"^[ #]*([a-z_]+):.*# \[default: (.*)\]$", TEXT, re.MULTILINE):
        stated[key].add(default)
    return stated


def real_defaults() -> dict[str, set[str]]:
    """What the models say; "none" where a key that is left out means nothing at all."""
    real = defaultdict(set)
    for model in set(MODELS) - {RouteEntry, RouteMatch}:  # a route's are the service's, as a sentence says
        for key, field in model.model_fields.items():
            if not field.is_required():
                real[key].add(field.default if isinstance(field.default, str) and field.default else "none")
    # Mappings whose keys have defaults of their own; a list; and the price, which is only left out where auth is off.
    for group in ("match", "timeouts", "routes", "price"):
        del real[group]
    return real


def test_every_default_in_the_example_is_the_real_one() -> None:
    assert stated_defaults() == real_defaults()


def test_what_is_written_out_beside_its_default_is_the_default() -> None:
    for value, default in re.findall(r"^[ #]*[a-z_]+: (\S.*?)  # \[default: (.*)\]$", TEXT, re.MULTILINE):
        assert default in {value, "none"} or value.startswith("/weather")


def test_the_commented_keys_are_right_too(tmp_path: Path) -> None:
    """Every commented key becomes a live one, but for those that belong to other files and backends."""
    keys = {key for model in MODELS for key in model.model_fields} - set(LndLightning.model_fields) - {"upstream_ca"}
    words = "|".join([*keys, "X-Api-Key", "Authorization", r"- \{match"])
    commented = rf"^( *)# ((?:  )*(?:{words}):(?! postgresql).*)$"
    text = re.sub(commented, r"\1\2", TEXT, flags=re.MULTILINE)
    (tmp_path / "upstream-authorization").write_text("Bearer x\n")
    settings = load(tmp_path, text, {"WEATHER_KEY": "k"})
    weather = settings.routes[0].service
    assert weather.set_headers == (("X-Api-Key", "k"), ("Authorization", "Bearer x"))
    assert (weather.rewrite.strip_prefix, weather.rewrite.prefix, weather.max_body_bytes) == ("/weather", "/v2", 10**7)
    assert settings.public_url == "https://api.example.com"
    assert len(settings.trusted_proxies) == 2
    assert settings.routes[0].terms.capability == "admin"


def test_the_five_lines_for_lnd_work_as_they_stand(tmp_path: Path) -> None:
    lines = re.findall(r"^#   ((?:backend|network|address|tls_cert|macaroon): .*)$", TEXT, re.MULTILINE)
    assert len(lines) == 5
    written = "lightning:\n" + "\n".join(f"  {line}" for line in lines)
    text = re.sub(r"^lightning:\n.*?(?=^# To be paid)", f"{written}\n\n", TEXT, flags=re.MULTILINE | re.DOTALL)
    settings = load(tmp_path, text)
    assert isinstance(settings.lightning, LndSettings)
    assert settings.lightning.network == "mainnet"
    assert {warning.path for warning in settings.warnings} == {"lightning.tls_cert", "lightning.macaroon"}
