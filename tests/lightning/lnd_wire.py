"""An lnd of wire only: a real gRPC server over TLS on a free port that answers what a test has written down."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
import trustme
from google.protobuf.message import Message

from gateway.lightning.lnd import methods
from gateway.lightning.lnd.rpc import macaroon_id_pb2 as bakery
from gateway.lightning.settings import Inline, LndSettings, Material

BY_PATH: dict[str, methods.Method[Any, Any]] = {
    method.path: method for method in vars(methods).values() if isinstance(method, methods.Method)
}


@dataclass(frozen=True)
class Refusal:
    """A gRPC status with lnd's words."""

    status: grpc.StatusCode
    details: str = ""


@dataclass(frozen=True)
class Silence:
    """No answer at all, until the caller gives up."""


@dataclass(frozen=True)
class Garbage:
    """Bytes that are no message."""


Answer = Message | Refusal | Silence | Garbage


@dataclass
class Asked:
    """One call as it arrived. ``deadline_s`` is what the caller allowed, in seconds."""

    path: str
    request: Message
    metadata: dict[str, str]
    deadline_s: float | None


@functools.cache
def authority() -> trustme.CA:
    """One certificate authority for all tests; making one takes a while."""
    return trustme.CA()


def bake(*rights: str) -> bytes:
    """A macaroon of lnd's form: libmacaroons V2 around a bakery V3 identifier. Its signature fits nothing."""
    ops = [bakery.Op(entity=right.rpartition(":")[0], actions=[right.rpartition(":")[2]]) for right in rights]
    identifier = b"\x03" + bakery.MacaroonId(nonce=bytes(16), storage_id=b"0", ops=ops).SerializeToString()
    length = bytes([len(identifier) & 0x7F | 0x80, len(identifier) >> 7])
    return b"\x02\x01\x03lnd\x02" + length + identifier + b"\x00\x00\x06\x20" + bytes(32)


@dataclass
class WireLnd:
    """Answers per path: the last of ``answers[path]`` repeats, one is used up per call otherwise.

    A streaming method gives all its answers to one caller and then stays silent, as lnd does, or refuses.
    """

    ca: trustme.CA = field(default_factory=authority)
    names: tuple[str, ...] = ("localhost", "127.0.0.1")
    port: int = 0
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    ends_streams: bool = False
    under_way: int = 0
    most_under_way: int = 0
    _server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; on the port of before when it was started once."""
        certificate = self.ca.issue_cert(*self.names)
        chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
        credentials = grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)])
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers([_Handlers(self)])
        self.port = self._server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        await self._server.start()

    async def stop(self) -> None:
        """Break every connection and stop listening."""
        if self._server is not None:
            await self._server.stop(None)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def certificate(self) -> bytes:
        return self.ca.cert_pem.bytes()

    def says(self, path: str, *answers: Answer) -> None:
        """Write down the answers of one method."""
        self.answers[path] = list(answers)

    def settings(
        self,
        *,
        macaroon: Material = Inline(bake("invoices:read", "invoices:write")),  # noqa: B008 - frozen
        tls_cert: Material | None = None,
        address: str | None = None,
        network: str = "regtest",
        rpc_timeout_s: float = 5.0,
        private_hints: bool = False,
    ) -> LndSettings:
        """Settings that fit this node, unless told otherwise."""
        return LndSettings(
            network=network,
            address=address or self.address,
            tls_cert=tls_cert or Inline(self.certificate),
            macaroon=macaroon,
            rpc_timeout_s=rpc_timeout_s,
            private_hints=private_hints,
        )

    def requests(self, path: str) -> list[Any]:
        """What was asked of one method, in order."""
        return [asked.request for asked in self.asked if asked.path == path]

    def answers_for(self, path: str) -> Sequence[Answer]:
        answers = self.answers.get(path) or [Refusal(grpc.StatusCode.UNIMPLEMENTED, f"unknown method {path}")]
        return answers if isinstance(BY_PATH[path], methods.Streaming) else [_next(answers)]

    async def answer(self, path: str, request: Message, context: Any) -> AsyncIterator[bytes]:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        self.asked.append(Asked(path, request, metadata, context.time_remaining()))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            for answer in self.answers_for(path):
                yield await _give(answer, context)
            if not self.ends_streams:
                await asyncio.Event().wait()
        finally:
            self.under_way -= 1


def _next(answers: list[Answer]) -> Answer:
    return answers.pop(0) if len(answers) > 1 else answers[0]


async def _give(answer: Answer, context: Any) -> bytes:
    if isinstance(answer, Message):
        return answer.SerializeToString()
    if isinstance(answer, Garbage):
        return b"\xff\xff\xff\xff\xff"
    if isinstance(answer, Silence):
        await asyncio.Event().wait()
    assert isinstance(answer, Refusal)
    await context.abort(answer.status, answer.details)
    raise AssertionError("abort raises")


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, node: WireLnd) -> None:
        self._node = node

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = handler_call_details.method
        method = BY_PATH.get(path)
        if method is None:
            return None
        node = self._node

        async def stream(request: Message, context: Any) -> AsyncIterator[bytes]:
            async for reply in node.answer(path, request, context):
                yield reply

        async def unary(request: Message, context: Any) -> bytes:
            replies = node.answer(path, request, context)
            try:
                return await anext(replies)
            finally:
                await replies.aclose()  # type: ignore[attr-defined]

        if isinstance(method, methods.Streaming):
            return grpc.unary_stream_rpc_method_handler(stream, request_deserializer=method.request.FromString)
        return grpc.unary_unary_rpc_method_handler(unary, request_deserializer=method.request.FromString)
