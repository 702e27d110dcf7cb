"""The checked-in message types are what protos/ says, and lnd of any age is understood."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from gateway.lightning.lnd.methods import Streaming
from gateway.lightning.lnd.rpc import lightning_pb2 as lnrpc
from tests.lightning.lnd_wire import BY_PATH

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "protos").glob("*.proto"))
PACKAGE = "gateway/lightning/lnd/rpc"


def test_there_are_protos() -> None:
    assert "lightning" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_checked_in_module_is_what_its_proto_says(name: str, tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    described = tmp_path / "described"
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{PACKAGE}={ROOT / 'protos'}"),
            *(f"--descriptor_set_out={described}", f"{PACKAGE}/{name}.proto"),
        ],
        check=True,
        cwd=ROOT,
    )
    (wanted,) = FileDescriptorSet.FromString(described.read_bytes()).file
    module = importlib.import_module(f"gateway.lightning.lnd.rpc.{name}_pb2")
    there = FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    assert _plain(there) == _plain(wanted), "run: python protos/generate.py"


def _plain(file: FileDescriptorProto) -> FileDescriptorProto:
    for message in file.message_type:
        for field in message.field:
            field.ClearField("json_name")
    return file


def test_the_generator_writes_the_package_into_any_folder(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    subprocess.run([sys.executable, ROOT / "protos/generate.py", tmp_path], check=True)
    written = {path.name for path in (tmp_path / PACKAGE).iterdir()}
    assert written == {f"{name}_pb2{end}" for name in NAMES for end in (".py", ".pyi")}


@pytest.mark.parametrize("path", sorted(BY_PATH))
def test_each_method_called_is_one_of_the_protos_with_its_types(path: str) -> None:
    method = BY_PATH[path]
    service_name, _, name = path.removeprefix("/").partition("/")
    module = {"lnrpc": "lightning", "routerrpc": "router"}[service_name.partition(".")[0]]
    descriptor = importlib.import_module(f"gateway.lightning.lnd.rpc.{module}_pb2").DESCRIPTOR
    declared = descriptor.services_by_name[service_name.partition(".")[2]].methods_by_name[name]
    assert declared.input_type is method.request.DESCRIPTOR
    assert declared.output_type is method.reply.DESCRIPTOR
    assert declared.server_streaming is isinstance(method, Streaming)


# Field numbers of lnd's lightning.proto; a number that moves here would silently read another field.
LND_NUMBERS = {
    lnrpc.Invoice: {
        "memo": 1, "r_hash": 4, "creation_date": 7, "settle_date": 8, "payment_request": 9, "expiry": 11, "private": 15,
        "add_index": 16, "settle_index": 17, "amt_paid_msat": 20, "state": 21, "value_msat": 23, "is_keysend": 25,
        "is_amp": 27,
    },
    lnrpc.AddInvoiceResponse: {"r_hash": 1, "payment_request": 2, "add_index": 16},
    lnrpc.PaymentHash: {"r_hash": 2},
    lnrpc.InvoiceSubscription: {"add_index": 1, "settle_index": 2},
    lnrpc.ListInvoiceRequest: {"pending_only": 1, "index_offset": 4, "num_max_invoices": 5, "reversed": 6},
    lnrpc.GetInfoResponse: {"num_active_channels": 4, "synced_to_chain": 9, "version": 14, "chains": 16},
    lnrpc.Payment: {"payment_hash": 1, "payment_preimage": 6, "status": 10, "fee_msat": 12, "failure_reason": 16},
}  # fmt: skip


@pytest.mark.parametrize("message", LND_NUMBERS, ids=lambda message: message.DESCRIPTOR.name)
def test_fields_have_the_numbers_of_lnd(message: type[lnrpc.Invoice]) -> None:
    assert {field.name: field.number for field in message.DESCRIPTOR.fields} == LND_NUMBERS[message]


def test_fields_that_a_newer_lnd_adds_are_skipped() -> None:
    newer = lnrpc.Invoice(value_msat=1500, state=lnrpc.Invoice.SETTLED).SerializeToString()
    newer += b"\xba\x06\x05hello"  # field 103, length-delimited
    newer += b"\xc0\x06\x7f"  # field 104, varint
    read = lnrpc.Invoice.FromString(newer)
    assert (read.value_msat, read.state) == (1500, lnrpc.Invoice.SETTLED)


def test_a_state_that_a_newer_lnd_adds_is_kept_as_a_number() -> None:
    read = lnrpc.Invoice.FromString(b"\xa8\x01\x09")  # field 21 = 9
    assert read.state == 9
