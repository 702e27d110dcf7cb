"""``${NAME}`` in a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.environment import substitute
from tests.config.written import load, refused, service

ENV = {"A": "1", "_b2": "two", "EMPTY": "", "NESTED": "${A}", "PASSWORD": "p@s:s/w%rd ?#", "BAD": "\udcff"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${A}", "1"),
        ("x${A}y${_b2}z", "x1ytwoz"),
        ("$", "$"),
        ("$A $$ $x} {A}", "$A $$ $x} {A}"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$${", "${"),
        ("${NESTED}", "${A}"),
        ("postgresql://u:${PASSWORD}@h/d", "postgresql://u:p%40s%3As%2Fw%25rd%20%3F%23@h/d"),
        ("postgresql://${_b2}:${A}@h/d", "postgresql://two:1@h/d"),
        ("https://u:${PASSWORD}@h", "https://u:p@s:s/w%rd ?#@h"),
        ("postgresql://h/d?a=:${PASSWORD}@x", "postgresql://h/d?a=:p@s:s/w%rd ?#@x"),
    ],
)
def test_references_are_replaced_once(text: str, value: str) -> None:
    assert substitute(text, ENV) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NOPE}", "environment variable NOPE is not set"),
        ("${A}${NOPE}", "environment variable NOPE is not set"),
        ("${EMPTY}", "environment variable EMPTY is empty"),
        ("${BAD}", "environment variable BAD is not UTF-8 text"),
        ("${A:-1}", "'${' without a name and '}', expected ${NAME}; write $${ for the characters themselves"),
        ("${1A}", "'${' without a name and '}', expected ${NAME}; write $${ for the characters themselves"),
        ("${A", "'${' without a name and '}', expected ${NAME}; write $${ for the characters themselves"),
        ("${ A }", "'${' without a name and '}', expected ${NAME}; write $${ for the characters themselves"),
    ],
)
def test_a_reference_to_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        substitute(text, ENV)
    assert str(refusal.value) == message


def test_a_variable_works_in_every_kind_of_field(tmp_path: Path) -> None:
    text = service(
        "price: ${PRICE}",
        "tier: ${TIER}",
        "valid_for: ${TIME}",
        "forward_credentials: ${SWITCH}",
        "match: {path: '/${WORD}/**'}",
        "auth: ${AUTH}",
    )
    env = {"PRICE": "7 sat", "TIER": "3", "TIME": "2h", "SWITCH": "yes", "WORD": "w", "AUTH": "optional"}
    route = load(tmp_path, text, env).routes[0]
    assert (route.terms.price_msat, route.terms.tier, route.terms.valid_for_s) == (7_000, 3, 7_200)
    assert (route.service.forward_credentials, route.pattern.path, route.terms.auth) == (True, "/w/**", "optional")


def test_keys_and_comments_are_left_alone(tmp_path: Path) -> None:
    assert load(tmp_path, service("tier: 1 # ${NOPE}")).routes
    assert "unknown key" in refused(tmp_path, service("'${NOPE}': 1"))[0]


def test_a_value_with_yaml_in_it_stays_one_value(tmp_path: Path) -> None:
    text = service("request_headers: {X-A: '${V}'}")
    assert load(tmp_path, text, {"V": "a, b: {c} # d"}).routes[0].service.set_headers == (("X-A", "a, b: {c} # d"),)


def test_unset_variables_are_all_reported_and_only_once_each(tmp_path: Path) -> None:
    text = service("price: ${P}", "request_headers: {X-A: '${H}', X-B: {file: '${F}'}}", "tier: ${T}")
    assert [message.split(": ", 1)[1] for message in refused(tmp_path, text)] == [
        "services[0].price: environment variable P is not set",
        "services[0].request_headers.X-A: environment variable H is not set",
        "services[0].request_headers.X-B.file: environment variable F is not set",
        "services[0].tier: environment variable T is not set",
    ]
