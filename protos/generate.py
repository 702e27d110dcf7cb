"""Write the Python modules in gateway/lightning/lnd/rpc from the protos in this folder (needs grpcio-tools).

    python protos/generate.py [TARGET]

TARGET (the repository by default) gets gateway/lightning/lnd/rpc/*_pb2.py and .pyi. The protos are given to protoc
under their Python package's path, so that the generated imports work as they are. No service stubs are generated: they
would refuse every grpcio older than the generator, and gateway/lightning/lnd/methods.py is all that is needed.
"""

from __future__ import annotations

import sys
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
PACKAGE = "gateway/lightning/lnd/rpc"


def generate(target: Path) -> None:
    """Run protoc over every proto here. Raises ``RuntimeError`` when it refuses one, ``ImportError`` without it."""
    from grpc_tools import protoc  # noqa: PLC0415  (a development tool: not there where the gateway only runs)

    names = sorted(path.name for path in PROTOS.glob("*.proto"))
    flags = [f"-I{PACKAGE}={PROTOS}", f"--python_out={target}", f"--pyi_out={target}"]
    if protoc.main(["protoc", *flags, *(f"{PACKAGE}/{name}" for name in names)]) != 0:
        raise RuntimeError("protoc refused the protos")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PROTOS.parent)
