"""The ``gateway`` command. Each subcommand imports what it needs when it runs, so that the others start fast."""

from __future__ import annotations

import click

import gateway
from gateway.cli.check import check
from gateway.cli.db import db
from gateway.cli.pay import pay
from gateway.cli.serve import demo_upstream, healthcheck, serve
from gateway.cli.sim import sim
from gateway.cli.token import token


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gateway.__version__, prog_name="gateway")
def main() -> None:
    """Sell HTTP requests for bitcoin over Lightning (L402).

    \b
    gateway serve CONFIG        answer requests
    gateway check CONFIG        find every mistake in a configuration, show the route table
    gateway pay URL             buy something
    """


for command in (serve, check, pay, sim, token, db, demo_upstream, healthcheck):
    main.add_command(command)
