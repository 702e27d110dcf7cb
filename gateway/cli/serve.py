"""``gateway serve``, and the two small commands that containers need."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import click

from gateway.cli.exits import fail, settings_of

EXIT_START = 3


@click.command(short_help="Answer requests in the foreground.")
@click.argument("config", type=click.Path(path_type=Path))
def serve(config: Path) -> None:
    """Serve CONFIG in the foreground; SIGTERM and Ctrl-C finish what is in flight (30 seconds at most) and end.

    What is sold goes to standard output, log lines to standard error: JSON, or words on a terminal.

    \b
    Exit codes:
      0   stopped as asked
      2   wrong usage, or the configuration cannot be used
      3   it cannot start: port taken, database or its folder unusable, unsafe runtime
    """
    from gateway.errors import GatewayError
    from gateway.server.logs import configure_logging
    from gateway.server.serving import serve as serve_settings

    log = configure_logging()
    settings = settings_of(config)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve_settings(settings, log, _say, command=_own_command()))
    except GatewayError as error:
        fail(EXIT_START, f"gateway: cannot start: {error}")
    except OSError as error:
        fail(EXIT_START, f"gateway: cannot start: {_why(error)}")


def _why(error: OSError) -> str:
    """asyncio words a failed bind as Python would; the address and the reason are what a person needs."""
    address = re.search(r"bind on address \('([^']*)', (\d+)", str(error))
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    if address is None:
        return f"{error.filename}: {reason}" if error.filename else reason
    return f"cannot listen on {address[1]}:{address[2]}: {reason}"


def _say(line: str) -> None:
    try:
        click.echo(line)
        sys.stdout.flush()
    except OSError:
        from gateway.server.logs import discard_from_now_on

        discard_from_now_on(sys.stdout)  # nobody listens any more, which is no reason to stop selling


def _own_command() -> str:
    """How the person who reads the banner can call this program again."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return f"{sys.executable} -m gateway"
    try:
        return str(program.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return program.name if shutil.which(program.name) else str(program)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


@click.command("demo-upstream", short_help="Serve the sample API on its own.")
@click.option("--listen", default="127.0.0.1:9000", show_default=True, metavar="HOST:PORT", help="Where it listens.")
def demo_upstream(listen: str) -> None:
    """Serve on its own the small sample API that `upstream: demo` starts.

    \b
    Exit codes: 0 stopped by SIGTERM or Ctrl-C, 2 wrong usage, 3 it cannot listen there.
    """
    from gateway.server.demo_upstream import DemoUpstream

    host, _, port = listen.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise click.UsageError("--listen wants HOST:PORT, as in 127.0.0.1:9000")

    async def run() -> None:
        upstream, stop = DemoUpstream(), asyncio.Event()
        # As the first process of a container it would otherwise not hear SIGTERM at all.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await upstream.start(host, int(port))
        _say(f"demo upstream on http://{upstream.address[0]}:{upstream.address[1]}")
        try:
            await stop.wait()
        finally:
            await upstream.aclose()

    try:
        asyncio.run(run())
    except OSError as error:
        fail(EXIT_START, f"gateway: cannot start: {_why(error)}")


@click.command(short_help="Ask a running gateway whether it answers.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--timeout", default=3.0, show_default=True, metavar="SECONDS", help="How long to wait.")
def healthcheck(config: Path, timeout: float) -> None:
    """Ask the gateway of CONFIG, on this machine, whether it answers (a container's HEALTHCHECK).

    The node and the upstreams are not asked.

    \b
    Exit codes: 0 it answers, 1 it does not, 2 wrong usage, or the configuration cannot be used.
    """
    import http.client

    from gateway.config.addresses import reachable

    host, port = settings_of(config).listen
    host = reachable(host)
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("OPTIONS", "*")
        answered = connection.getresponse().status == 200
    except (OSError, http.client.HTTPException) as error:
        fail(1, f"gateway: no answer from {host}:{port}: {error}")
    finally:
        connection.close()
    sys.exit(0 if answered else 1)
