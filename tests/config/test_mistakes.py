"""One mistake at a time: what it is called, and where."""

# ruff: noqa: E501 - the messages are tested as they are printed

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.written import CERTIFICATE, SIMULATED, refused, service

# fmt: off
IN_A_SERVICE = [
    ("price: 10", ["5:10: services[0].price: a number without its unit, expected a price such as 10 sat, 1500 msat or free"]),
    ("price: 0.5 sat", ["5:10: services[0].price: not a whole amount, or more than all bitcoin, expected a price such as 10 sat, 1500 msat or free"]),
    ("price: 0 sat", ["5:10: services[0].price: an amount of nothing, expected a price such as 10 sat, 1500 msat or free"]),
    ("price: -1 sat", ["5:10: services[0].price: not a whole amount, or more than all bitcoin, expected a price such as 10 sat, 1500 msat or free"]),
    ("price:", ["5:9: services[0].price: nothing, expected a price such as 10 sat, 1500 msat or free"]),
    ("price: [10 sat]", ["5:10: services[0].price: a list, expected a price such as 10 sat, 1500 msat or free"]),
    ("name: a:0,b", ["3:9: services[0].name: not a name, expected 1 to 64 of a-z, 0-9, '_' and '-', but not gw, gw_…, services, preimage, …_capabilities or …_valid_until"]),
    ("name: gw", ["3:9: services[0].name: a name that tokens use for something else, expected 1 to 64 of a-z, 0-9, '_' and '-', but not gw, gw_…, services, preimage, …_capabilities or …_valid_until"]),
    ("name: gw_x", ["3:9: services[0].name: a name that tokens use for something else, expected 1 to 64 of a-z, 0-9, '_' and '-', but not gw, gw_…, services, preimage, …_capabilities or …_valid_until"]),
    ("name: preimage", ["3:9: services[0].name: a name that tokens use for something else, expected 1 to 64 of a-z, 0-9, '_' and '-', but not gw, gw_…, services, preimage, …_capabilities or …_valid_until"]),
    ("name: a_capabilities", ["3:9: services[0].name: a name that tokens use for something else, expected 1 to 64 of a-z, 0-9, '_' and '-', but not gw, gw_…, services, preimage, …_capabilities or …_valid_until"]),
    ('name: ""', ["3:9: services[0].name: not a name, expected 1 to 64 of a-z, 0-9, '_' and '-', but not gw, gw_…, services, preimage, …_capabilities or …_valid_until"]),
    ("upstream: 127.0.0.1:9000", ["4:13: services[0].upstream: no http:// or https:// in front, expected a URL such as http://127.0.0.1:9000, or demo"]),
    ("upstream: http://u:p@h", ["4:13: services[0].upstream: a user or password in a URL, expected a URL such as http://127.0.0.1:9000, or demo"]),
    ("upstream: http://h/?q=1", ["4:13: services[0].upstream: a query or fragment in a URL, expected a URL such as http://127.0.0.1:9000, or demo"]),
    ("upstream: http://h/a/../b", ["4:13: services[0].upstream: a path that not every server reads alike, expected a URL such as http://127.0.0.1:9000, or demo"]),
    ("upstream: http://h:99999", ["4:13: services[0].upstream: not a port, expected a URL such as http://127.0.0.1:9000, or demo"]),
    ("upstream: http://169.254.169.254", ["4:13: services[0].upstream: a link-local address, where cloud machines keep their own secrets, expected a URL such as http://127.0.0.1:9000, or demo"]),
    ("upstream: http://[::1", ["4:13: services[0].upstream: not a URL, expected a URL such as http://127.0.0.1:9000, or demo"]),
    ("upstream: http://", ["4:13: services[0].upstream: no host, expected a URL such as http://127.0.0.1:9000, or demo"]),
    ("upstream: http://exa mple", ["4:13: services[0].upstream: spaces, control or non-ASCII characters in a URL, expected a URL such as http://127.0.0.1:9000, or demo"]),
    ("upstream: http://127.0.0.1:8402", ["4:13: services[0].upstream: the address at listen, expected the API that is for sale"]),
    ("upstream: http://localhost:8403", ["4:13: services[0].upstream: the address at lightning.listen, expected the API that is for sale"]),
    ("upstream: dmeo", ["4:13: services[0].upstream: no http:// or https:// in front, expected a URL such as http://127.0.0.1:9000, or demo"]),
    ("upstream_ca: ./ca.pem", ["6:16: services[0].upstream_ca: a file that cannot be read (no such file or directory), expected a file of certificates in PEM form"]),
    ("tier: 256", ["6:9: services[0].tier: not such a number, expected a whole number from 0 to 255"]),
    ("tier: 010", ["6:9: services[0].tier: not such a number, expected a whole number from 0 to 255"]),
    ("tier: 1_0", ["6:9: services[0].tier: not such a number, expected a whole number from 0 to 255"]),
    ("tier: true", ["6:9: services[0].tier: not such a number, expected a whole number from 0 to 255"]),
    ("valid_for: 0s", ["6:14: services[0].valid_for: not a length of time, expected a length of time such as 90s, 10m, 1h or 7d"]),
    ("valid_for: 10:30", ["6:14: services[0].valid_for: not a length of time, expected a length of time such as 90s, 10m, 1h or 7d"]),
    ("valid_for: 1 hour", ["6:14: services[0].valid_for: not a length of time, expected a length of time such as 90s, 10m, 1h or 7d"]),
    ("valid_for: 3651d", ["6:14: services[0].valid_for: longer than 3650d, expected a length of time such as 90s, 10m, 1h or 7d"]),
    ("valid_for: 500ms", ["6:14: services[0].valid_for: not whole seconds, expected a length of time such as 90s, 10m, 1h or 7d"]),
    ("auth: of", ["6:9: services[0].auth: an unknown word (did you mean off?), expected required, optional or off"]),
    ("auth: false", ["6:9: services[0].auth: an unknown word, expected required, optional or off"]),
    ("capabilities: read", ["6:17: services[0].capabilities: a text, expected a list (- item)"]),
    ("capabilities: []", ["6:17: services[0].capabilities: an empty list, expected at least one item"]),
    ("capabilities: [read, read]", ["6:24: services[0].capabilities[1]: the same as on line 6, expected another"]),
    ('capabilities: ["a,b"]', ["6:18: services[0].capabilities[0]: not a name, expected 1 to 64 of a-z, 0-9, '_' and '-'"]),
    ("match: /a", ["6:10: services[0].match: a text, expected a mapping (key: value)"]),
    ("match: {path: a}", ["6:17: services[0].match.path: no '/' in front, expected a path such as /weather/**, /weather/*/today or /weather"]),
    ("match: {path: /a//b}", ["6:17: services[0].match.path: a path pattern has no empty segment ('//'): such paths are never served, expected a path such as /weather/**, /weather/*/today or /weather"]),
    ("match: {path: /a*}", ["6:17: services[0].match.path: '*' stands for one whole segment, '**' for all that follows and only at the end: '/a/*/b/**', expected a path such as /weather/**, /weather/*/today or /weather"]),
    ("match: {path: /a/../b}", ["6:17: services[0].match.path: a path pattern holds a segment that no accepted request can have, expected a path such as /weather/**, /weather/*/today or /weather"]),
    ('match: {path: "/a?b"}', ["6:17: services[0].match.path: a path pattern has no query, fragment, parameters or backslash, and '%' only in escapes, expected a path such as /weather/**, /weather/*/today or /weather"]),
    ('match: {path: "/a/{id}"}', ["6:17: services[0].match.path: a segment that varies is written '*', as in '/users/*/orders' (a literal ':' in front as '%3A'), expected a path such as /weather/**, /weather/*/today or /weather"]),
    ('match: {host: "https://x"}', ["6:17: services[0].match.host: not a host, expected a host such as api.example.com or *.example.com"]),
    ('match: {host: "x:80"}', ["6:17: services[0].match.host: a port, every port is served alike, expected a host such as api.example.com or *.example.com"]),
    ('match: {host: "*"}', ["6:17: services[0].match.host: not a host, expected a host such as api.example.com or *.example.com"]),
    ('match: {host: "bücher.example"}', ["6:17: services[0].match.host: not ASCII, write an international name in its xn-- form, expected a host such as api.example.com or *.example.com"]),
    ('match: {host: ""}', ["6:17: services[0].match.host: not a host, expected a host such as api.example.com or *.example.com"]),
    ("match: {methods: GET}", ["6:20: services[0].match.methods: a text, expected a list (- item)"]),
    ("match: {methods: [get]}", ["6:21: services[0].match.methods[0]: not a method that can be sold (did you mean GET?), expected an HTTP method in capitals such as GET or POST"]),
    ("match: {methods: [CONNECT]}", ["6:21: services[0].match.methods[0]: not a method that can be sold, expected an HTTP method in capitals such as GET or POST"]),
    ("match: {methods: []}", ["6:20: services[0].match.methods: an empty list, expected at least one item"]),
    ("match: {paht: /a}", ["6:11: services[0].match: unknown key 'paht' (did you mean path?)"]),
    ("strip_prefix: a", ["6:17: services[0].strip_prefix: not a plain path, expected a path such as /v1, without a '/' at the end"]),
    ("strip_prefix: /a/", ["6:17: services[0].strip_prefix: not a plain path, expected a path such as /v1, without a '/' at the end"]),
    ("strip_prefix: /a", ["6:17: services[0].strip_prefix: not how every path of this service begins, expected the front of match.path"]),
    ("prefix: /a/../b", ["6:11: services[0].prefix: not a plain path, expected a path such as /v1, without a '/' at the end"]),
    ("forward_credentials: maybe", ["6:24: services[0].forward_credentials: not a switch, expected true or false"]),
    ("max_body: 10 megabytes", ["6:13: services[0].max_body: not a size, expected a size such as 10MB, 512KiB or 1000000"]),
    ("max_body: 1.5MB", ["6:13: services[0].max_body: not a size, expected a size such as 10MB, 512KiB or 1000000"]),
    ("timeouts: {connect: 0s}", ["6:23: services[0].timeouts.connect: not a length of time, expected a length of time such as 500ms, 3s or 1m"]),
    ("timeouts: {first_byte: 2d}", ["6:26: services[0].timeouts.first_byte: longer than 1d, expected a length of time such as 500ms, 3s or 1m"]),
    ("timeouts: 30s", ["6:13: services[0].timeouts: a text, expected a mapping (key: value)"]),
    ("request_headers: [X-A]", ["6:20: services[0].request_headers: a list, expected a mapping (key: value)"]),
    ('request_headers: {Content-Length: "1"}', ["6:21: services[0].request_headers.Content-Length: a header that the gateway makes from the upstream's address and the body, expected a header such as X-Api-Key"]),
    ("request_headers: {Transfer-Encoding: chunked}", ["6:21: services[0].request_headers.Transfer-Encoding: a header that belongs to one connection, the gateway writes it itself, expected a header such as X-Api-Key"]),
    ('request_headers: {X-L402-Price: "1"}', ["6:21: services[0].request_headers.X-L402-Price: a header in which the gateway itself speaks to the upstream, expected a header such as X-Api-Key"]),
    ('request_headers: {"X A": b}', ["6:21: services[0].request_headers.?: a header name with characters that HTTP does not allow, expected a header such as X-Api-Key"]),
    ('request_headers: {X-A: "a\\r\\nX-B: c"}', ["6:26: services[0].request_headers.X-A: line breaks, control or non-ASCII characters, or spaces at an end, expected a text, or {file: ./secret}"]),
    ('request_headers: {X-A: ""}', ["6:26: services[0].request_headers.X-A: nothing to send, expected a text, or {file: ./secret}"]),
    ('request_headers: {X-A: "é"}', ["6:26: services[0].request_headers.X-A: line breaks, control or non-ASCII characters, or spaces at an end, expected a text, or {file: ./secret}"]),
    ("request_headers: {X-A: {file: ./none}}", ["6:33: services[0].request_headers.X-A.file: a file that cannot be read (no such file or directory), expected a file that holds one line of text"]),
    ("request_headers: {X-A: {fil: ./none}}", ["6:27: services[0].request_headers.X-A: unknown key 'fil' (did you mean file?)"]),
    ("request_headers: {X-A: {}}", ["6:26: services[0].request_headers.X-A.file: missing, expected a file that holds one line of text"]),
    ("request_headers: {X-A: a, x-a: b}", ["6:34: services[0].request_headers.x-a: the same as on line 6, expected another"]),
    ("routes: {}", ["6:11: services[0].routes: a mapping, expected a list (- item)"]),
    ("routes: [x]", ["6:12: services[0].routes[0]: a text, expected a mapping (key: value)"]),
    ("routes: [{price: 1 sat}]", ["6:12: services[0].routes[0].match: missing, expected a mapping (key: value)"]),
    ("routes: [{match: {}, price: 1 sat}]", ["6:20: services[0].routes[0].match: nothing to tell its requests apart, expected path or methods"]),
    ("routes: [{match: {path: /a}}]", ["6:12: services[0].routes[0].price: missing, expected a price such as 10 sat, 1500 msat or free"]),
    ("routes: [{match: {path: /a}, price: 1 sat, capability: x}]", ["6:58: services[0].routes[0].capability: not in this service's capabilities, expected one of them"]),
    ("routes: [{match: {path: /a}, price: 1 sat, name: default}]", ["6:52: services[0].routes[0].name: the name of the service's own price, expected 1 to 64 of a-z, 0-9, '_' and '-', but not default"]),
    ("routes: [{match: {path: /a, host: h}, price: 1 sat}]", ["6:31: services[0].routes[0].match: unknown key 'host' here (it belongs to a service's match)"]),
    ('routes: [{match: {path: /a}, price: 1 sat, auth: "off"}]', ["6:39: services[0].routes[0].price: a price that nobody pays because auth is off, expected free, or auth: required"]),
    ("routes: [{match: {path: /a}, price: 1 sat}, {match: {path: /a}, price: 2 sat}]", ["6:55: services[0].routes[1].match: the same paths and methods as on line 6"]),
    ("routes: [{match: {path: /a}, price: 1 sat, name: x}, {match: {path: /b}, price: 2 sat, name: x}]", ["6:96: services[0].routes[1].name: the same as on line 6, expected another"]),
    ("prise: 10 sat", ["6:3: services[0]: unknown key 'prise' (did you mean price?)"]),
    ("listen: 127.0.0.1:1", ["6:3: services[0]: unknown key 'listen' here (it belongs to the top level or lightning with backend simulated)"]),
    ('"x y": 1', ["6:3: services[0]: unknown key, expected name, match, upstream, upstream_ca, strip_prefix, prefix, timeouts, max_body, request_headers, forward_credentials, price, auth, valid_for, tier, capabilities, routes"]),
    ("<<: {tier: 1}", ["6:3: services[0]: a merge key (<<), which is not supported: write the keys out"]),
    ('tier: !!int "5"', ["6:9: services[0].tier: a tag (!), expected a plain value; quote a text that begins with '!'"]),
    ("tier: ${NOPE}", ["6:9: services[0].tier: environment variable NOPE is not set"]),
    ("tier: ${}", ["6:9: services[0].tier: '${' without a name and '}', expected ${NAME}; write $${ for the characters themselves"]),
]
# fmt: on

# fmt: off
IN_LIGHTNING = [
    ("lightning: {}", ["1:12: lightning.backend: missing, expected simulated or lnd"]),
    ("lightning: {backend: lmd}", ["1:22: lightning.backend: an unknown word (did you mean lnd?), expected simulated or lnd"]),
    ("lightning: {backend: lmd, address: x}", ["1:12: lightning.network: missing, expected mainnet, testnet, signet or regtest", "1:12: lightning.tls_cert: missing, expected a file such as ./tls.cert, or its PEM text", "1:12: lightning.macaroon: missing, expected a file such as ./gateway.macaroon, or the macaroon in hex", "1:22: lightning.backend: an unknown word (did you mean lnd?), expected simulated or lnd", "1:36: lightning.address: no port, expected a host and port such as 127.0.0.1:10009"]),
    ("lightning: {backend: simulated, network: mainnet}", ["1:42: lightning.network: real money, which a simulated node cannot take, expected regtest, signet or testnet"]),
    ("lightning: {backend: simulated, network: regtset}", ["1:42: lightning.network: an unknown word (did you mean regtest?), expected regtest, signet or testnet"]),
    ('lightning: {backend: simulated, address: "127.0.0.1:10009"}', ["1:33: lightning: unknown key 'address' here (it belongs to lightning with backend lnd)"]),
    ("lightning: {backend: simulated, listen: 0.0.0.0:8403}", ["1:41: lightning.listen: reachable from other machines, expected a loopback address such as 127.0.0.1:8403"]),
    ("lightning: {backend: simulated, listen: 127.0.0.1:8402}", ["1:41: lightning.listen: the gateway's own address, expected another port"]),
    ("lightning: {backend: simulated, data: ./gateway.db}", ["1:39: lightning.data: the gateway's own database, expected another file"]),
    ('lightning: {backend: simulated, data: ""}', ["1:39: lightning.data: not a path, expected the name of a file"]),
    ("lightning: {backend: simulated, invoice_expiry: 8d}", ["1:49: lightning.invoice_expiry: longer than 7d, expected a length of time such as 90s, 10m, 1h or 7d"]),
    ("lightning: {backend: lnd}", ["1:12: lightning.network: missing, expected mainnet, testnet, signet or regtest", "1:12: lightning.address: missing, expected a host and port such as 127.0.0.1:10009", "1:12: lightning.tls_cert: missing, expected a file such as ./tls.cert, or its PEM text", "1:12: lightning.macaroon: missing, expected a file such as ./gateway.macaroon, or the macaroon in hex"]),
    ('lightning: {backend: lnd, network: main, address: "127.0.0.1", tls_cert: t, macaroon: m}', ["1:36: lightning.network: an unknown word (did you mean mainnet?), expected mainnet, testnet, signet or regtest", "1:51: lightning.address: no port, expected a host and port such as 127.0.0.1:10009"]),
    ('lightning: {backend: lnd, network: signet, address: ":10009", tls_cert: "-----BEGIN EC PRIVATE KEY-----", macaroon: AgEDbG5k}', ["1:53: lightning.address: no host, expected a host and port such as 127.0.0.1:10009", "1:73: lightning.tls_cert: PEM text that is not a certificate, expected a file such as ./tls.cert, or its PEM text", "1:117: lightning.macaroon: a macaroon in base64, expected a file such as ./gateway.macaroon, or the macaroon in hex"]),
    ('lightning: {backend: lnd, network: signet, address: "127.0.0.1:1", tls_cert: t, macaroon: m, listen: "127.0.0.1:1"}', ["1:94: lightning: unknown key 'listen' here (it belongs to the top level or lightning with backend simulated)"]),
    ("lightning:", ["1:11: lightning: nothing, expected a mapping (key: value)"]),
    ("lightning: [simulated]", ["1:12: lightning: a list, expected a mapping (key: value)"]),
    ("lightning: simulated", ["1:12: lightning: a text, expected a mapping (key: value)"]),
]
# fmt: on

# fmt: off
AT_THE_TOP = [
    ("listen: 8402", ["3:9: listen: no port, expected 127.0.0.1:8402 or the like, or 0.0.0.0:8402 for every address"]),
    ("listen: :8402", ["3:9: listen: no host, expected 127.0.0.1:8402 or the like, or 0.0.0.0:8402 for every address"]),
    ("listen: localhost", ["3:9: listen: no port, expected 127.0.0.1:8402 or the like, or 0.0.0.0:8402 for every address"]),
    ('listen: "::1:8402"', ["3:9: listen: not a host name or address, expected 127.0.0.1:8402 or the like, or 0.0.0.0:8402 for every address"]),
    ("listen: 127.0.0.1:65536", ["3:9: listen: not a port, expected 127.0.0.1:8402 or the like, or 0.0.0.0:8402 for every address"]),
    ("listen: 127.0.0.256:80", ["3:9: listen: not a host name or address, expected 127.0.0.1:8402 or the like, or 0.0.0.0:8402 for every address"]),
    ("public_url: api.example.com", ["3:13: public_url: no http:// or https:// in front, expected an absolute URL such as https://api.example.com"]),
    ("public_url: https://api.example.com/v1", ["3:13: public_url: a URL with a path, expected an absolute URL such as https://api.example.com"]),
    ("public_url: https://u:p@api.example.com", ["3:13: public_url: a user or password in a URL, expected an absolute URL such as https://api.example.com"]),
    ("storage: gateway.db", ["3:10: storage: not such a URL, expected sqlite:///./gateway.db or postgresql://user:password@host/name"]),
    ("storage: sqlite:///", ["3:10: storage: no database file; tokens must outlive a restart, expected sqlite:///./gateway.db or postgresql://user:password@host/name"]),
    ("storage: sqlite:///:memory:", ["3:27: not YAML: a ':' that begins a value inside another one; check indentation, or quote"]),
    ("storage: sqlite:///a.db?mode=ro", ["3:10: storage: '?', '#' or '%' in the name of a database file, expected sqlite:///./gateway.db or postgresql://user:password@host/name"]),
    ("storage: sqlite://gateway.db", ["3:10: storage: not such a URL, expected sqlite:///./gateway.db or postgresql://user:password@host/name"]),
    ("storage: postgres://h/d", ["3:10: storage: not such a URL, expected sqlite:///./gateway.db or postgresql://user:password@host/name"]),
    ("storage: postgresql://h", ["3:10: storage: a database URL without a name, or with an unreadable port, expected sqlite:///./gateway.db or postgresql://user:password@host/name"]),
    ("storage: postgresql://h:x/d", ["3:10: storage: a database URL without a name, or with an unreadable port, expected sqlite:///./gateway.db or postgresql://user:password@host/name"]),
    ('storage: "postgresql://h/d e"', ["3:10: storage: spaces or control characters in a URL, expected sqlite:///./gateway.db or postgresql://user:password@host/name"]),
    ("trusted_proxies: 10.0.0.0/8", ["3:18: trusted_proxies: a text, expected a list (- item)"]),
    ("trusted_proxies: [10.0.0.1/8]", ["3:19: trusted_proxies[0]: an address inside a network, not its first, expected a network such as 10.0.0.0/8, or one address"]),
    ("trusted_proxies: [localhost]", ["3:19: trusted_proxies[0]: not a network, expected a network such as 10.0.0.0/8, or one address"]),
    ("invalid_credential_status: 403", ["3:28: invalid_credential_status: an unknown word (did you mean 402?), expected 402 or 401"]),
    ("lisen: 127.0.0.1:8402", ["3:1: unknown key 'lisen' (did you mean listen?)"]),
    ("invoice_expiry: 10m", ["3:1: unknown key 'invoice_expiry' here (it belongs to lightning with backend simulated or lightning with backend lnd)"]),
    ('"": 1', ["3:1: a key that is not text"]),
    ('? [a]\n: 1', ["3:3: a key that is not text"]),
    ('listen: 127.0.0.1:1\nlisten: 127.0.0.1:2', ["4:1: listen: written twice, the first time on line 3"]),
]
# fmt: on

# fmt: off
THE_WHOLE_FILE = [
    ("", ["1:1: the file is empty, expected the keys 'lightning' and 'services'"]),
    ('# nothing\n', ["1:1: the file is empty, expected the keys 'lightning' and 'services'"]),
    ("[]", ["1:1: a list, expected a mapping (key: value)"]),
    ("just text", ["1:1: a text, expected a mapping (key: value)"]),
    ("listen: 127.0.0.1:8402", ["1:1: lightning: missing, expected a mapping (key: value)", "1:1: services: missing, expected a list (- item)"]),
]
# fmt: on

SOLD = "services: [{name: a, upstream: demo, price: 1 sat}]"


@pytest.mark.parametrize(("line", "messages"), IN_A_SERVICE)
def test_a_mistake_in_a_service_is_named_with_its_place(tmp_path: Path, line: str, messages: list[str]) -> None:
    assert refused(tmp_path, service(line)) == messages


@pytest.mark.parametrize(("line", "messages"), IN_LIGHTNING)
def test_a_mistake_in_lightning_is_named_with_its_place(tmp_path: Path, line: str, messages: list[str]) -> None:
    assert refused(tmp_path, f"{line}\n{SOLD}\n") == messages


@pytest.mark.parametrize(("line", "messages"), AT_THE_TOP)
def test_a_mistake_at_the_top_level_is_named_with_its_place(tmp_path: Path, line: str, messages: list[str]) -> None:
    assert refused(tmp_path, f"{SIMULATED}\n{SOLD}\n{line}\n") == messages


@pytest.mark.parametrize(("text", "messages"), THE_WHOLE_FILE)
def test_a_file_that_says_nothing_useful_is_refused(tmp_path: Path, text: str, messages: list[str]) -> None:
    assert refused(tmp_path, text) == messages


@pytest.mark.parametrize("key", ["name", "upstream", "price"])
def test_a_service_without_one_of_its_three_keys_is_refused(tmp_path: Path, key: str) -> None:
    [message] = refused(tmp_path, service(without=key))
    assert message.startswith(f"3:3: services[0].{key}: missing, expected ")


def test_two_services_of_one_name_are_refused(tmp_path: Path) -> None:
    text = service() + "\n- {name: a, match: {path: /b}, upstream: demo, price: free}"
    assert refused(tmp_path, text) == ["6:10: services[1].name: the same as on line 3, expected another"]


def test_a_path_outside_its_service_is_refused(tmp_path: Path) -> None:
    text = service("match: {path: /a/**, methods: [GET]}", "routes: [{match: {path: /b, methods: [PUT]}, price: free}]")
    assert refused(tmp_path, text) == [
        "7:27: services[0].routes[0].match.path: outside the service's match.path, expected a path inside it",
        "7:40: services[0].routes[0].match.methods: methods that the service's match.methods leaves out",
    ]


def test_capabilities_that_no_caveat_can_hold_are_refused(tmp_path: Path) -> None:
    names = ", ".join(f"{letter * 60}" for letter in "abcdefghi")
    assert refused(tmp_path, service(f"capabilities: [{names}]")) == [
        "6:17: services[0].capabilities: too long for a token, expected fewer or shorter ones"
    ]


def test_a_price_under_auth_off_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, service("auth: off")) == [
        "5:10: services[0].price: a price that nobody pays because auth is off, expected free, or auth: required"
    ]


def test_the_buyers_credential_and_our_own_cannot_share_a_header(tmp_path: Path) -> None:
    text = service("forward_credentials: true", "request_headers: {authorization: Bearer x}")
    assert refused(tmp_path, text) == [
        "7:36: services[0].request_headers.authorization: takes the place of the buyer's credential that forward_credentials sends"
    ]


def test_certificates_for_plain_http_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, service(f"upstream_ca: {CERTIFICATE}")) == [
        "6:16: services[0].upstream_ca: certificates for an upstream without https"
    ]


def test_a_file_that_holds_no_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN NONSENSE-----")
    assert refused(tmp_path, service("upstream: https://h", "upstream_ca: ca.pem")) == [
        "6:16: services[0].upstream_ca: a file without certificates in PEM form, expected a file of certificates in PEM form"
    ]


def test_more_routes_than_a_table_may_have_are_refused(tmp_path: Path) -> None:
    routes = ", ".join(f"{{match: {{path: /{number}}}, price: free}}" for number in range(499))
    items = "\n".join(f"- {{name: s{number}, upstream: demo, price: free, routes: [{routes}]}}" for number in range(11))
    assert refused(tmp_path, f"{SIMULATED}\nservices:\n{items}\n") == [
        "3:1: services: more than 5000 routes altogether"
    ]


def test_more_services_than_a_file_may_have_are_refused(tmp_path: Path) -> None:
    items = "\n".join(f"- {{name: s{number}, upstream: demo, price: free}}" for number in range(2_001))
    assert refused(tmp_path, f"{SIMULATED}\nservices:\n{items}\n") == ["3:1: services: too many, expected at most 2000"]
