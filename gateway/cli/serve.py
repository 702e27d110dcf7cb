"""``gateway serve``, and the two small commands that containers need."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

EXIT_CONFIG, EXIT_START = 2, 3


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
def serve(config: Path) -> None:
    """Serve CONFIG in the foreground; SIGTERM finishes what is in flight and ends.

    \b
    Exit codes: 0 stopped as asked, 2 the configuration cannot be used, 3 it cannot start (port, database, runtime).
    """
    from gateway.config import load_settings
    from gateway.errors import ConfigError, GatewayError
    from gateway.server.logs import configure_logging
    from gateway.server.serving import serve as serve_settings

    configure_logging()
    try:
        settings = load_settings(config, os.environ)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve_settings(settings, _say, command=_own_command()))
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_CONFIG)
    except GatewayError as error:
        click.echo(f"gateway: cannot start: {error}", err=True)
        sys.exit(EXIT_START)
    except OSError as error:
        click.echo(f"gateway: cannot start: {error.strerror or error}", err=True)
        sys.exit(EXIT_START)


def _say(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()


def _own_command() -> str:
    """How the person who reads the banner can call this program again."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return f"{sys.executable} -m gateway"
    try:
        return str(program.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return program.name


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


@click.command("demo-upstream")
@click.option("--listen", default="127.0.0.1:9000", show_default=True, help="Address and port.")
def demo_upstream(listen: str) -> None:
    """Serve the small sample API that ``upstream: demo`` starts, on its own."""
    from gateway.server.demo_upstream import DemoUpstream

    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise click.UsageError("--listen wants HOST:PORT")

    async def run() -> None:
        upstream = DemoUpstream()
        await upstream.start(host, int(port))
        _say(f"demo upstream on http://{upstream.address[0]}:{upstream.address[1]}")
        try:
            await asyncio.Event().wait()
        finally:
            await upstream.aclose()

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        pass
    except OSError as error:
        click.echo(f"gateway: {error.strerror or error}", err=True)
        sys.exit(EXIT_START)


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--timeout", default=3.0, show_default=True, help="Seconds.")
def healthcheck(config: Path, timeout: float) -> None:
    """Ask the gateway of CONFIG whether it answers; exit code 0 or 1 (for a container's HEALTHCHECK)."""
    import http.client

    from gateway.config import load_settings
    from gateway.errors import ConfigError

    try:
        host, port = load_settings(config, os.environ).listen
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_CONFIG)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("OPTIONS", "*")
        answered = connection.getresponse().status == 200
    except (OSError, http.client.HTTPException) as error:
        click.echo(f"gateway: no answer from {host}:{port}: {error}", err=True)
        sys.exit(1)
    finally:
        connection.close()
    sys.exit(0 if answered else 1)
