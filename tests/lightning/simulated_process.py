"""Run as a process of its own: a simulated node on the file argv[1] that does what argv[2:] says, then waits."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway.l402.amounts import Msat
from gateway.lightning.backend import NewInvoice
from gateway.lightning.settings import SimulatedSettings
from gateway.lightning.simulated import SimulatedNode


async def main(data: str, *commands: str) -> None:
    node = SimulatedNode(SimulatedSettings("regtest", ("127.0.0.1", 0), Path(data)))
    await node.start()
    print("started", node.node_id.hex(), flush=True)
    for command in commands:
        if command == "issue":
            print((await node.create_invoice(NewInvoice(Msat(1_500), 600, "x"))).bolt11, flush=True)
        else:
            await node.pay(command)
            print("paid", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
