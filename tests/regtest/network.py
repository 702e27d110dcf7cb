#!/usr/bin/env python3
"""A real Lightning network on this machine: btcd in regtest, and two lnd nodes with a funded channel between them.

    network.py up DIR [--bin BIN] [--channels N]   start it (13 to 40 s), print DIR/network.json, leave it running
    network.py down DIR                            stop it
    network.py pay DIR INVOICE                     pay INVOICE from the buyer's node, print the preimage in hex
    network.py restart DIR NODE [--kill]           stop (or kill -9) alice or bob, start it again, wait until it serves

alice is the seller's node, bob the buyer's. bob opens the channel, so that bob can pay alice from the start; alice
receives at most its capacity (0.16 BTC). Every listener is on 127.0.0.1, on a free port. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

CAPACITY_SAT = 16_000_000
RPC_USER, RPC_PASS = "regtest", "regtest"
BINARIES = Path(os.environ.get("L402_REGTEST_BIN") or Path.home() / ".cache/l402-regtest")

Found = TypeVar("Found")


class NotPaid(Exception):
    """lncli could not pay the invoice."""


def free_port() -> int:
    """A port below the ephemeral range, so that no outgoing connection takes it before its server starts."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(what: str, check: Callable[[], Found], seconds: float = 60, every: float = 0.1) -> Found:
    """Ask ``check`` until it gives something truthy; ``TimeoutError`` with its last error otherwise."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            if result := check():
                return result
        except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
            last = getattr(error, "stderr", None) or error
        time.sleep(every)
    raise TimeoutError(f"regtest: {what} not ready after {seconds:.0f} s: {last}")


def run(command: Sequence[str], timeout: float = 60) -> Any:
    """What a command prints, read as JSON where it is. A command that fails raises ``CalledProcessError``."""
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout).stdout
    try:
        return json.loads(out)
    except ValueError:
        return out.strip()


def spawn(command: Sequence[str], log: Path) -> int:
    """Start a program in a session of its own and return its pid."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True)
    process.returncode = 0  # `end` reaps it; the handle is not kept
    return process.pid


def end(pid: int, first: signal.Signals = signal.SIGINT, seconds: float = 20) -> None:
    """Ask a process to end, kill it when it does not, return when it is gone."""
    if not pid:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, first)
        os.kill(pid, signal.SIGCONT)  # a frozen process ends only when it goes on
        deadline = time.monotonic() + seconds
        while alive(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; a child of ours that has ended is reaped."""
    with contextlib.suppress(ChildProcessError):  # another's child just disappears
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def thread_states(pid: int) -> list[str]:
    """The state letter of each thread, as in proc(5)."""
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    return [stat.read_text().rpartition(")")[2].split()[0] for stat in stats]


class Chain:
    """btcd, mining on demand."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries, self.folder = binaries, folder / "btcd"
        self.folder.mkdir(parents=True)
        self.rpc, self.p2p, self.pid = free_port(), free_port(), 0
        self.access = [f"--rpccert={self.folder}/rpc.cert", f"--rpcuser={RPC_USER}", f"--rpcpass={RPC_PASS}"]

    def start(self, mining_address: str | None = None) -> None:
        """Start it and wait until it answers. It mines only to the address that it was started with."""
        config = self.folder / "btcd.conf"
        config.touch()
        command = [
            *(str(self.binaries / "btcd"), "--regtest", f"--datadir={self.folder}", f"--logdir={self.folder}"),
            *(f"--configfile={config}", *self.access, f"--rpckey={self.folder}/rpc.key"),
            *(f"--rpclisten=127.0.0.1:{self.rpc}", f"--listen=127.0.0.1:{self.p2p}"),
            *("--txindex", "--nodnsseed", "--debuglevel=warn"),
        ]
        if mining_address:
            command.append(f"--miningaddr={mining_address}")
        self.pid = spawn(command, self.folder / "out.log")
        wait_for("btcd", lambda: self.ctl("getblockcount") is not None)

    def ctl(self, *words: str) -> Any:
        """One btcctl command."""
        program = [str(self.binaries / "btcctl"), "--regtest", f"--configfile={self.folder}/btcd.conf"]
        return run([*program, *self.access, f"--rpcserver=127.0.0.1:{self.rpc}", *words])


class Node:
    """One lnd. ``description`` is its entry in network.json, from which it is found again."""

    def __init__(self, name: str, folder: Path, description: dict[str, Any]) -> None:
        self.name, self.folder = name, folder
        self.grpc: str = description["grpc"]
        self.p2p: str = description["p2p"]
        self.tls_cert = Path(description["tls_cert"])
        self.admin_macaroon = Path(description["admin_macaroon"])
        self.invoice_macaroon = Path(description["invoice_macaroon"])
        self.gateway_macaroon = Path(description["gateway_macaroon"])
        self.command: list[str] = description["command"]
        self.lncli: list[str] = description["lncli"]
        self.pid: int = description["pid"]
        self.description = description

    @classmethod
    def create(cls, name: str, binaries: Path, folder: Path, chain: Chain, *, wallet: bool = True) -> Node:
        """A new node, not started. Without ``wallet`` it waits for one to be created and unlocked, as in production."""
        home = folder / name
        home.mkdir(parents=True)
        grpc, rest, p2p = (f"127.0.0.1:{free_port()}" for _ in range(3))
        macaroons = home / "data/chain/bitcoin/regtest"
        command = [
            *(str(binaries / "lnd"), f"--lnddir={home}", "--bitcoin.regtest", "--bitcoin.node=btcd"),
            *(f"--btcd.rpchost=127.0.0.1:{chain.rpc}", f"--btcd.rpccert={chain.folder}/rpc.cert"),
            *(f"--btcd.rpcuser={RPC_USER}", f"--btcd.rpcpass={RPC_PASS}"),
            *(f"--rpclisten={grpc}", f"--restlisten={rest}", f"--listen={p2p}", f"--alias={name}"),
            *("--trickledelay=50", "--debuglevel=warn", "--bitcoin.defaultchanconfs=1", "--accept-keysend"),
            *("--protocol.wumbo-channels", "--invoices.holdexpirydelta=12"),
            *(["--noseedbackup"] if wallet else []),
        ]
        lncli = [str(binaries / "lncli"), f"--lnddir={home}", "--network=regtest", f"--rpcserver={grpc}"]
        paths = {
            "tls_cert": str(home / "tls.cert"),
            "admin_macaroon": str(macaroons / "admin.macaroon"),
            "invoice_macaroon": str(macaroons / "invoice.macaroon"),
            "gateway_macaroon": str(home / "gateway.macaroon"),
        }
        addresses = {"grpc": grpc, "rest": rest, "p2p": p2p}
        return cls(name, home, {**addresses, **paths, "pid": 0, "lncli": lncli, "command": command})

    def spawn(self) -> None:
        """Start the process and do not wait for it."""
        self.pid = spawn(self.command, self.folder / "out.log")

    def start(self) -> None:
        """Start it and wait until it takes calls."""
        self.spawn()
        wait_for(self.name, lambda: self.cli("getinfo")["identity_pubkey"], 90)

    def stop(self) -> None:
        """End it in order."""
        end(self.pid)

    def kill(self) -> None:
        """kill -9."""
        end(self.pid, signal.SIGKILL)

    def freeze(self) -> None:
        """It stays there and answers nothing, from when this returns."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_for("frost", lambda: all(state == "T" for state in thread_states(self.pid)), 10, every=0.005)

    def thaw(self) -> None:
        """Go on."""
        os.kill(self.pid, signal.SIGCONT)

    def cli(self, *words: str, timeout: float = 60) -> Any:
        """One lncli command."""
        return run([*self.lncli, *words], timeout)

    def synced(self) -> bool:
        """Whether it has seen the whole chain."""
        return bool(self.cli("getinfo")["synced_to_chain"])

    def active_channels(self) -> int:
        """How many channels can carry a payment now."""
        return len(self.cli("listchannels", "--active_only")["channels"])

    def bake(self, *rights: str) -> bytes:
        """A macaroon with these rights, such as ``invoices:read``."""
        return bytes.fromhex(self.cli("bakemacaroon", *rights))

    def pay(self, invoice: str) -> bytes:
        """Pay and give the preimage. Raises ``NotPaid``."""
        try:
            paid = self.cli("payinvoice", "--force", "--json", invoice, timeout=90)
        except subprocess.CalledProcessError as error:
            raise NotPaid(error.stderr.strip() or error.stdout.strip()) from None
        return bytes.fromhex(paid["payment_preimage"])

    def described(self) -> dict[str, Any]:
        """Its entry in network.json."""
        return {**self.description, "pid": self.pid}


class Network:
    """alice and bob, their chain and the folder that all of it lives in."""

    def __init__(self, folder: Path, alice: Node, bob: Node, chain: dict[str, Any]) -> None:
        self.folder, self.alice, self.bob, self.chain = folder, alice, bob, chain

    @classmethod
    def load(cls, folder: Path) -> Network:
        """A network that is up, from its network.json."""
        saved = json.loads((folder / "network.json").read_text())
        alice, bob = (Node(name, folder / name, saved[name]) for name in ("alice", "bob"))
        return cls(folder, alice, bob, saved["chain"])

    def save(self) -> Path:
        """Write network.json."""
        file = self.folder / "network.json"
        state = {"chain": self.chain, "alice": self.alice.described(), "bob": self.bob.described()}
        file.write_text(json.dumps(state, indent=1))
        return file

    def link(self) -> None:
        """Wait until a channel can carry payments again. lnd tries too, but only after several seconds."""
        if self.bob.active_channels() and self.alice.active_channels():
            return
        key = self.alice.cli("getinfo")["identity_pubkey"]

        def linked() -> bool:
            with contextlib.suppress(subprocess.CalledProcessError):  # connected already, or not ready yet
                self.bob.cli("connect", "--timeout=2s", f"{key}@{self.alice.p2p}")
            return bool(self.bob.active_channels() and self.alice.active_channels())

        wait_for("the channel", linked, 60)

    def down(self) -> None:
        """Stop everything."""
        for pid in (self.alice.pid, self.bob.pid, self.chain["pid"]):
            end(pid)


def up(folder: Path, binaries: Path = BINARIES, channels: int = 1) -> Network:
    """Start a network in a new folder. What was started is stopped again when anything fails."""
    folder.mkdir(parents=True)
    started: list[Chain | Node] = []
    try:
        return _bring_up(folder, binaries, channels, started)
    except BaseException:
        for part in reversed(started):
            end(part.pid)
            tail = (part.folder / "out.log").read_text().splitlines()[-4:]
            print(f"regtest: {part.folder.name}:", *tail, sep="\n  ", file=sys.stderr)
        raise


def _bring_up(folder: Path, binaries: Path, channels: int, started: list[Chain | Node]) -> Network:
    chain = Chain(binaries, folder)
    started.append(chain)
    chain.start()
    alice, bob = (Node.create(name, binaries, folder, chain) for name in ("alice", "bob"))
    for node in (alice, bob):
        started.append(node)
        node.spawn()
    for node in (alice, bob):
        wait_for(node.name, lambda node=node: node.cli("getinfo")["identity_pubkey"], 90)  # type: ignore[misc]
    address = bob.cli("newaddress", "p2wkh")["address"]
    end(chain.pid)
    chain.start(address)
    chain.ctl("generate", "450")  # segwit is active on regtest from block 432
    wait_for("bob's coins", lambda: int(bob.cli("walletbalance")["confirmed_balance"]) > CAPACITY_SAT * channels, 120)
    _open_channels(chain, alice, bob, channels)
    alice.gateway_macaroon.write_bytes(alice.bake("invoices:read", "invoices:write", "info:read"))
    bob.gateway_macaroon.write_bytes(bob.bake("offchain:read", "offchain:write", "info:read"))
    access = {"rpc_cert": str(chain.folder / "rpc.cert"), "user": RPC_USER, "password": RPC_PASS}
    network = Network(folder, alice, bob, {"pid": chain.pid, "rpc": f"127.0.0.1:{chain.rpc}", **access})
    network.save()
    return network


def _open_channels(chain: Chain, alice: Node, bob: Node, channels: int) -> None:
    def both(what: str, ready: Callable[[Node], Any]) -> None:
        for node in (alice, bob):
            wait_for(f"{node.name}: {what}", lambda node=node: ready(node), 120)  # type: ignore[misc]

    both("chain", Node.synced)
    key = alice.cli("getinfo")["identity_pubkey"]
    wait_for("peers", lambda: bob.cli("connect", f"{key}@{alice.p2p}") is not None)
    for _ in range(channels):
        wait_for("open", lambda: bob.cli("openchannel", f"--node_key={key}", f"--local_amt={CAPACITY_SAT}"))
        chain.ctl("generate", "3")
        both("chain", Node.synced)
    both("channels", lambda node: node.active_channels() == channels)
    point = bob.cli("listchannels")["channels"][0]["channel_point"]
    edge = ("getchaninfo", f"--chan_point={point}")
    wait_for("policies", lambda: all(bob.cli(*edge)[f"node{number}_policy"] for number in (1, 2)))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("up", "down", "pay", "restart"):
        verbs.add_parser(verb).add_argument("dir", type=Path)
    verbs.choices["up"].add_argument("--bin", type=Path, default=BINARIES)
    verbs.choices["up"].add_argument("--channels", type=int, default=1)
    verbs.choices["pay"].add_argument("invoice")
    verbs.choices["restart"].add_argument("node", choices=("alice", "bob"))
    verbs.choices["restart"].add_argument("--kill", action="store_true")
    return parser.parse_args(arguments)


def _restart(network: Network, name: str, *, kill: bool) -> None:
    node: Node = getattr(network, name)
    if kill:
        node.kill()
    else:
        node.stop()
    node.start()
    network.save()
    network.link()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 and a line on stderr when something failed."""
    words = _parse(arguments)
    folder = words.dir.resolve()
    try:
        if words.verb == "up":
            up(folder, words.bin.resolve(), words.channels)
            print(folder / "network.json")
            return 0
        network = Network.load(folder)
        if words.verb == "down":
            network.down()
        elif words.verb == "pay":
            print(network.bob.pay(words.invoice).hex())
        else:
            _restart(network, words.node, kill=words.kill)
    except (OSError, subprocess.SubprocessError, NotPaid) as error:
        print(f"regtest: {error} {getattr(error, 'stderr', None) or ''}".rstrip(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
