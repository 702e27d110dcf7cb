"""A PostgreSQL of our own for one test run, from the binaries that the machine has."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "elephant-1729"
_START_S = 30.0


class Unavailable(Exception):
    """There is no PostgreSQL here that could be started."""


def binaries() -> Path:
    found = shutil.which("initdb")
    on_path = [Path(found).resolve().parent] if found else []
    for folder in [*on_path, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]:
        if all((folder / name).exists() for name in ("initdb", "postgres", "psql")):
            return folder
    raise Unavailable("no PostgreSQL binaries found (on PATH or in /usr/lib/postgresql)")


def _unprivileged() -> dict[str, str | int | list[int]]:
    """PostgreSQL refuses to run as root: name the account that Debian's package makes."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    raise Unavailable("PostgreSQL refuses to run as root, and there is no account to run it as")


def _fast_folder() -> str | None:
    """Memory, where there is plenty: a database cluster is some thousand files."""
    memory = "/dev/shm"
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    return memory if roomy else None


@dataclass
class PostgresServer:
    folder: Path
    bin: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    databases: int = 0

    @classmethod
    def create(cls) -> PostgresServer:
        account, programs = _unprivileged(), binaries()
        folder = Path(tempfile.mkdtemp(prefix="gateway-pg-", dir=_fast_folder()))
        server = cls(folder, programs, 0)
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        if account:
            os.chown(folder, int(str(account["user"])), int(str(account["group"])))
        command = [server.bin / "initdb", "-D", folder / "data", "-U", "gateway", "--auth=scram-sha-256"]
        command += [f"--pwfile={password}", "--no-sync", "--encoding=UTF8", "--locale=C"]
        done = subprocess.run(command, check=False, capture_output=True, cwd="/", **account)  # type: ignore[call-overload]
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise Unavailable(f"initdb failed: {done.stderr.decode(errors='replace').strip()}")
        try:
            server.start()
        except BaseException:
            server.remove()
            raise
        return server

    def start(self) -> None:
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        options = {"fsync": "off", "listen_addresses": "127.0.0.1", "port": str(self.port)}
        options |= {"unix_socket_directories": str(self.folder), "shared_buffers": "16MB", "max_connections": "60"}
        command = [str(self.bin / "postgres"), "-D", str(self.folder / "data")]
        command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(  # type: ignore[call-overload]
                command, stdout=log, stderr=log, cwd="/", **_unprivileged()
            )
        give_up = time.monotonic() + _START_S
        while self.psql("postgres", "SELECT 1", check=False).returncode:
            if time.monotonic() > give_up or self.process.poll() is not None:
                raise Unavailable("PostgreSQL does not start: " + (self.folder / "log").read_text()[-500:])
            time.sleep(0.05)

    def stop(self) -> None:
        """Immediately, as a crash would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(timeout=_START_S)
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def psql(self, database: str, sql: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [str(self.bin / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, self.url(database)]
        return subprocess.run(command, capture_output=True, text=True, check=check, cwd="/")

    def url(self, database: str) -> str:
        return f"postgresql://gateway:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template0") -> str:
        """The URL of a new database."""
        self.databases += 1
        name = f"test_{self.databases}"
        self.psql("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)
