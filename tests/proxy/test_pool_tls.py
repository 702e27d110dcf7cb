"""TLS towards an upstream: whom the pool believes."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from gateway.errors import BadUpstreamResponse, UpstreamUnreachable
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.services import Origin
from tests.proxy.pooled import OK, POOL_TIMEOUTS, a_request, fetch, pool_to
from tests.proxy.raw_upstream import RawUpstream, answering, answering_once_then, plain


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem and a certificate for localhost that this CA signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl program")
    folder = tmp_path_factory.mktemp("tls")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test CA")
    run("req", *key, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    run("x509", "-req", "-in", "request.pem", *signed, "-out", "cert.pem")
    return folder


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


async def test_an_upstream_whose_authority_is_in_ca_file_is_served(certificate: Path, tls: ssl.SSLContext) -> None:
    big = b"t" * 1_000_000
    async with (
        RawUpstream(answering(plain(big)), tls=tls) as upstream,
        pool_to(upstream.origin, ca_file=str(certificate / "ca.pem")) as pool,
    ):
        for _ in range(3):
            assert await fetch(pool, a_request("POST", b"p" * 100_000)) == big
        assert len(upstream.connections) == 1


async def test_an_upstream_whose_authority_is_unknown_is_refused_before_a_byte_is_sent(tls: ssl.SSLContext) -> None:
    async with RawUpstream(answering(OK), tls=tls) as upstream, pool_to(upstream.origin) as pool:
        with pytest.raises(UpstreamUnreachable, match="certificate was refused: "):
            await fetch(pool)
        assert not upstream.requests


async def test_a_certificate_for_another_name_is_refused(certificate: Path, tls: ssl.SSLContext) -> None:
    async with RawUpstream(answering(OK), tls=tls) as upstream:
        other = Origin("https", "127.0.0.1", upstream.port)
        async with pool_to(other, ca_file=str(certificate / "ca.pem")) as pool:
            with pytest.raises(UpstreamUnreachable):
                await fetch(pool)
        assert not upstream.requests


async def test_a_body_cut_under_tls_without_its_closing_alert_is_not_taken_for_complete(
    certificate: Path, tls: ssl.SSLContext
) -> None:
    script = answering_once_then(b"HTTP/1.1 200 OK\r\n\r\nhalf of i", reset=True)
    async with (
        RawUpstream(script, tls=tls) as upstream,
        pool_to(upstream.origin, ca_file=str(certificate / "ca.pem")) as pool,
    ):
        with pytest.raises(BadUpstreamResponse):
            await fetch(pool)


def test_a_ca_file_that_cannot_be_read_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UpstreamUnreachable):
        UpstreamPool(Origin("https", "localhost", 1), POOL_TIMEOUTS, ca_file=str(tmp_path / "none.pem"))
