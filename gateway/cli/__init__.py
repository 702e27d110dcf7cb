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


class _InOrder(click.Group):
    """Lists its commands in the order in which they were added: what is needed first stands first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gateway.__version__, prog_name="gateway")
def main() -> None:
    """Sell HTTP requests for bitcoin over Lightning (L402).

    `gateway COMMAND --help` explains a command and its exit codes.
    """


for command in (serve, check, pay, sim, token, db, healthcheck, demo_upstream):
    main.add_command(command)
