"""YAML as it is read here: text only, bounded, and every mistake with its place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.config import load_settings
from gateway.errors import ConfigError
from gateway.paywall.terms import Auth
from tests.config.written import SIMULATED, load, refused, service

SOLD = "services: [{name: a, upstream: demo, price: 1 sat}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "1:9: not YAML: a list that isn't closed; expected ',' or ']'"),
        ("a: {b: 1", "1:9: not YAML: a mapping that isn't closed; expected ',' or '}'"),
        ("a: b: c", "1:5: not YAML: a ':' that begins a value inside another one; check indentation, or quote"),
        ("a:\n\tb: 1", "2:1: not YAML: a tab; YAML is indented with spaces"),
        ('a: "b', "1:6: not YAML: the file ends inside a quoted text"),
        ("a: *b", "1:4: not YAML: an alias (*) without its anchor; quote a text that begins with '*'"),
        ("a: @b", "1:4: not YAML: a text that begins with '@'; quote it"),
        ("a: !e!b c", "1:4: not YAML: a tag; quote a text that begins with '!'"),
        ("a: 1\nb", "2:2: not YAML: a key without ':'; check indentation"),
        ("a: 1\n b: 2", "2:3: not YAML: a ':' that begins a value inside another one; check indentation, or quote"),
        ("a: 1\n--- \nb: 2", "2:1: not YAML: a second document; a configuration is one document"),
        (
            'a: "\\q"',
            "1:6: not YAML: an unknown escape inside double quotes; single quotes take backslashes as they are",
        ),
        ("a: \x07", "1:4: a control character, which YAML does not allow"),
        ('a: "\\UFFFFFFFF"', "1:7: not YAML"),
        ('listen: "\\ud800"', "1:9: listen: not text: half of a surrogate pair"),
    ],
)
def test_what_is_no_yaml_is_explained_at_its_place(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text)


def test_text_that_is_not_utf_8_is_refused_at_its_place(tmp_path: Path) -> None:
    assert refused(tmp_path, b"a: 1\nb: \xff") == ["2:4: not UTF-8 text"]
    assert refused(tmp_path, "a: 1".encode("utf-16")) == ["1:1: not UTF-8 text"]


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + service().encode()).routes


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_line_endings_of_other_systems_are_understood(tmp_path: Path, newline: str) -> None:
    assert load(tmp_path, service().replace("\n", newline)).routes
    assert refused(tmp_path, service("price: 1").replace("\n", newline))[0].startswith("5:10: services[0].price: ")


def test_a_file_that_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.yaml", "no such file or directory"), (tmp_path, "is a directory")):
        with pytest.raises(ConfigError) as refusal:
            load_settings(path, {})
        assert str(refusal.value) == f"{path}: cannot be read: {reason}"


def test_a_file_name_that_no_system_takes_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be read: not a file name"):
        load_settings(Path("a\0b"), {})


def test_a_file_of_more_than_a_mebibyte_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, service() + "\n#" + "x" * (1 << 20)) == ["the file is larger than 1 MiB"]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_quickly(tmp_path: Path, opening: str) -> None:
    started = time.monotonic()
    messages = refused(tmp_path, opening * 30_000)
    assert time.monotonic() - started < 2
    assert len(messages) == 1
    assert messages[0].endswith("more than 24 levels inside each other")


def test_aliases_that_multiply_are_refused_quickly(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    started = time.monotonic()
    messages = refused(tmp_path, "\n".join(lines))
    assert time.monotonic() - started < 2
    assert len(messages) == 1
    assert messages[0].endswith("more values than a configuration needs; aliases (*) multiply them")


def test_an_alias_inside_itself_is_refused(tmp_path: Path) -> None:
    [message] = refused(tmp_path, "a: &a [*a]")
    assert message.endswith("aliases (*) multiply them")


def test_an_anchor_is_written_once_and_used_twice(tmp_path: Path) -> None:
    text = (
        f"{SIMULATED}\nservices:\n- {{name: a, match: &m {{path: /a}}, upstream: &u http://h, price: 1 sat}}\n"
        "- {name: b, match: {path: /b}, upstream: *u, price: 1 sat}"
    )
    first, second = load(tmp_path, text).routes
    assert first.service.origin == second.service.origin


def test_a_mistake_behind_an_alias_is_reported_for_each_use(tmp_path: Path) -> None:
    text = (
        f"{SIMULATED}\nservices:\n- {{name: a, upstream: demo, price: &p 5}}\n- {{name: b, upstream: demo, price: *p}}"
    )
    assert [message.split(": ")[1] for message in refused(tmp_path, text)] == ["services[0].price", "services[1].price"]


def test_merge_keys_are_refused_and_a_quoted_one_is_just_unknown(tmp_path: Path) -> None:
    assert "a merge key (<<), which is not supported: write the keys out" in refused(tmp_path, service("<<: {}"))[0]
    assert "unknown key" in refused(tmp_path, service('"<<": {}'))[0]


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system [x]", "!!binary aGk=", "!!set {x}", "!x y", "!!int 5"]
)
def test_tags_construct_nothing_and_are_refused(tmp_path: Path, tag: str) -> None:
    assert refused(tmp_path, service(f"tier: {tag}")) == [
        "6:9: services[0].tier: a tag (!), expected a plain value; quote a text that begins with '!'"
    ]


@pytest.mark.parametrize("word", ["off", "'off'", '"off"'])
def test_off_is_the_word_off(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, service(f"auth: {word}", without="price")).routes[0].terms.auth is Auth.OFF


@pytest.mark.parametrize("word", ["no", "false", "False", "n", "OFF", "0", "none"])
def test_no_other_word_turns_payment_off(tmp_path: Path, word: str) -> None:
    assert "services[0].auth: an unknown word" in refused(tmp_path, service(f"auth: {word}", without="price"))[0]


@pytest.mark.parametrize("word", ["true", "yes", "on", "True", "'true'"])
def test_a_switch_is_on_in_every_spelling_that_yaml_knows(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, service(f"forward_credentials: {word}")).routes[0].service.forward_credentials


@pytest.mark.parametrize("price", ["0", "free", "'0'", '"free"'])
def test_free_is_written_out(tmp_path: Path, price: str) -> None:
    assert load(tmp_path, service(f"price: {price}")).routes[0].terms.price_msat == 0


@pytest.mark.parametrize("name", ["123", "1e3", "010", "0x10", "null_", "yes", "1_000", "2001-01-01"])
def test_a_name_that_yaml_would_take_for_something_else_stays_text(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, service(f"name: {name}")).routes[0].terms.service == name


@pytest.mark.parametrize("nothing", ["", "~", "null", "NULL"])
def test_a_key_without_a_value_is_a_mistake_even_where_it_could_be_left_out(tmp_path: Path, nothing: str) -> None:
    for key in ("valid_for", "tier", "routes", "match", "capabilities", "request_headers", "upstream_ca"):
        [message] = refused(tmp_path, service(f"{key}: {nothing}"))
        assert f"services[0].{key}: nothing, expected " in message
