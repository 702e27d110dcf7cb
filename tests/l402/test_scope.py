"""What signed caveats leave of a token's rights, condition by condition."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import Fault
from tests.l402.samples import fault_of, sell

INVALID, SCOPE, EXPIRED = Fault.INVALID_CAVEAT, Fault.SCOPE, Fault.EXPIRED

Wanted = dict[str, Any]


def until(unix_s: int) -> str:
    return f"svc_valid_until={unix_s}"


@pytest.mark.parametrize(
    ("caveats", "expected"),
    [
        ([until(1_900_000_000), "services=svc:0", until(1_850_000_000), "services=svc:0"], None),
        ([until(1_900_000_000), "services=svc:0", until(1_900_000_001), "services=svc:0"], INVALID),
        ([until(1_900_000_000), "services=svc:0", until(1_799_999_999)], EXPIRED),
        (["services=svc:0,a:0", until(1_900_000_000), "services=a:0"], SCOPE),
    ],
)
def test_L47_each_condition_is_a_chain_of_its_own_and_its_last_caveat_counts(
    caveats: list[str], expected: Fault | None
) -> None:
    assert fault_of(sell(caveats)) == expected


@pytest.mark.parametrize(
    "caveats",
    [
        ["unknown=1"],
        ["ip=1.2.3.4", "a b=c"],
        ["expiration=1", "route=/x"],
        ["Services=x"],
        [" services=x"],
        ["services =x"],
        ["SVC_VALID_UNTIL=1"],
        ["gw=1", "GW_ROUTE=x", "xgw_route=y"],
    ],
)
def test_L48_conditions_that_nobody_here_knows_are_skipped(caveats: list[str]) -> None:
    assert fault_of(sell(caveats)) is None


@pytest.mark.parametrize("caveat", ["gw_x=1", "gw_=1", "gw_routes=default", "gw_ROUTE=default", "gw_route =default"])
def test_L48_unknown_conditions_in_our_own_namespace_are_refused(caveat: str) -> None:
    assert fault_of(sell([caveat])) is INVALID


@pytest.mark.parametrize(
    ("caveats", "wanted", "expected"),
    [
        (["services=svc:0"], {}, None),
        (["services=svc:0,svc:1"], {"tier": 1}, None),
        (["services=svc:255"], {"tier": 255}, None),
        (["services=svc-a_2:0"], {"service": "svc-a_2"}, None),
    ],
)
def test_L61_services_are_pairs_of_name_and_tier(caveats: list[str], wanted: Wanted, expected: Fault | None) -> None:
    assert fault_of(sell(caveats), **wanted) == expected


@pytest.mark.parametrize(
    ("caveats", "wanted", "expected"),
    [
        ([], {}, None),
        ([], {"service": "other", "tier": 7}, None),
        (["services=svc:0"], {"service": "other"}, SCOPE),
        (["services=svc:0"], {"service": "sv"}, SCOPE),
        (["services=svc:0"], {"service": "svc_x"}, SCOPE),
    ],
)
def test_L62_a_token_is_for_its_listed_services_or_for_all_when_none_is_listed(
    caveats: list[str], wanted: Wanted, expected: Fault | None
) -> None:
    assert fault_of(sell(caveats), **wanted) == expected


@pytest.mark.parametrize(
    ("caveats", "wanted", "expected"),
    [
        (["services=a:0,svc:0", "services=svc:0"], {}, None),
        (["services=a:0,svc:0", "services=svc:0,a:0"], {}, None),
        (["services=a:0,svc:0", "services=svc:0"], {"service": "a"}, SCOPE),
        (["services=a:0", "services=a:0,svc:0"], {}, INVALID),
        (["services=a:0", "services=svc:0"], {}, INVALID),
        (["services=svc:0", "services=svc:1"], {"tier": 1}, INVALID),
        (["services=svc:0", "services=svc:1"], {}, INVALID),
        (["services=a:0,svc:0", "services=svc:0", "services=a:0,svc:0"], {}, INVALID),
    ],
)
def test_L63_later_services_are_a_subset_of_earlier_ones_pair_by_pair(
    caveats: list[str], wanted: Wanted, expected: Fault | None
) -> None:
    assert fault_of(sell(caveats), **wanted) == expected


@pytest.mark.parametrize(("held", "wanted"), [(0, 1), (1, 0), (1, 2)])
def test_L64_a_token_of_another_tier_is_refused(held: int, wanted: int) -> None:
    assert fault_of(sell([f"services=svc:{held}"]), tier=wanted) is SCOPE
    assert fault_of(sell([f"services=svc:{held}"]), tier=held) is None


@pytest.mark.parametrize(
    ("caveats", "capability", "expected"),
    [
        (["services=svc:0"], "read", None),
        (["svc_capabilities=read,write"], "write", None),
        (["svc_capabilities=read"], "write", SCOPE),
        (["svc_capabilities=read"], "rea", SCOPE),
        (["svc_capabilities=read"], None, None),
        (["svc_capabilities=a,b", "svc_capabilities=b"], "b", None),
        (["svc_capabilities=a,b", "svc_capabilities=b"], "a", SCOPE),
        (["svc_capabilities=a", "svc_capabilities=a,b"], "a", INVALID),
        (["svc_capabilities=a", "svc_capabilities=b"], "b", INVALID),
    ],
)
def test_L65_a_capability_must_be_in_the_last_list_and_lists_only_shrink(
    caveats: list[str], capability: str | None, expected: Fault | None
) -> None:
    assert fault_of(sell(caveats), capability=capability) == expected


def test_L66_constraints_of_a_capability_are_left_to_the_service() -> None:
    assert fault_of(sell(["services=svc:0", "svc_capabilities=read", "read_monthly_volume_sats=5"])) is None


@pytest.mark.parametrize(
    ("caveats", "expected"),
    [
        ([until(1_800_000_001)], None),
        ([until(1_800_000_000)], EXPIRED),
        ([until(1_799_999_999)], EXPIRED),
        ([until(0)], EXPIRED),
        ([until(1_900_000_000), until(1_800_000_000)], EXPIRED),
        ([until(1_900_000_000), until(1_900_000_000)], None),
        ([until(1_900_000_000), until(1_850_000_000)], None),
        ([until(1_900_000_000), until(1_900_000_001)], INVALID),
        ([until(1_900_000_000), until(1_850_000_000), until(1_900_000_000)], INVALID),
    ],
)
def test_L67_a_token_is_good_before_its_last_end_and_ends_only_come_nearer(
    caveats: list[str], expected: Fault | None
) -> None:
    assert fault_of(sell(caveats)) == expected


@pytest.mark.parametrize(
    "caveat",
    [
        *(
            "services=",
            "services=:0",
            "services=svc",
            "services=svc:",
            "services=svc:b",
            "services=,,",
            "services=svc:256",
        ),
        *(
            "svc_capabilities=",
            "svc_capabilities=a,",
            "gw_route=",
            "gw_route=a b",
            "gw_price_msat=",
            "gw_price_msat=1e3",
        ),
        *("svc_valid_until=", "svc_valid_until=abc", "svc_valid_until=+1900000000", "svc_valid_until=1e9"),
        *("svc_valid_until=٣", "svc_valid_until=1900000000.0", "svc_valid_until=1900000000000", "svc_valid_until=NaN"),
    ],
)
def test_L70_a_known_condition_with_an_unreadable_value_is_refused(caveat: str) -> None:
    assert fault_of(sell([caveat])) is INVALID
    assert fault_of(sell(["services=a:0", caveat] if not caveat.startswith("services") else [caveat])) is INVALID


def test_L95_one_token_may_cover_several_services() -> None:
    both = sell(["services=a:0,svc:0", "a_valid_until=1800000001", "svc_valid_until=1900000000", "a_capabilities=x"])
    assert fault_of(both, service="a", capability="x") is None
    assert fault_of(both, service="svc", capability="y", now=1_850_000_000) is None
    assert fault_of(both, service="a", now=1_850_000_000) is EXPIRED
    assert fault_of(both, service="a", capability="y") is SCOPE
    assert fault_of(both, service="b") is SCOPE


@pytest.mark.parametrize(
    ("caveat", "service"),
    [
        ("svc_x_valid_until=1", "svc"),
        ("x_svc_valid_until=1", "svc"),
        ("svc_valid_until=1", "svc_x"),
        ("svc_valid_until=1", "x_svc"),
        ("valid_until=1", "svc"),
        ("_valid_until=1", "svc"),
        ("svc_x_capabilities=a", "svc"),
        ("other_valid_until=not a number", "svc"),
    ],
)
def test_a_condition_matches_as_a_whole_only(caveat: str, service: str) -> None:
    assert fault_of(sell([caveat]), service=service, capability="read") is None


@pytest.mark.parametrize(
    ("caveats", "expected"),
    [
        (["gw_route=a,b", "gw_route=a"], None),
        (["gw_route=a", "gw_route=a"], None),
        (["gw_route=a", "gw_route=a,b"], INVALID),
        (["gw_route=a", "gw_route=b"], INVALID),
        (["gw_price_msat=2000", "gw_price_msat=1000"], None),
        (["gw_price_msat=1000", "gw_price_msat=1000"], None),
        (["gw_price_msat=1000", "gw_price_msat=1001"], INVALID),
        (["gw_price_msat=0"], None),
        (["gw_price_msat=2100000000000000001"], INVALID),
    ],
)
def test_the_quoted_route_and_price_can_be_narrowed_only(caveats: list[str], expected: Fault | None) -> None:
    assert fault_of(sell(caveats)) == expected


def test_the_last_quoted_route_and_price_are_handed_to_the_caller() -> None:
    verified = sell(["gw_route=a,b", "gw_price_msat=2000", "gw_route=b", "gw_price_msat=1000"]).verify()
    assert verified.routes == frozenset({"b"})
    assert verified.price_msat == 1000
    assert sell([]).verify()[3:8] == (None, None, None, None, None)
