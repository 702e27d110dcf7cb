"""How a command ends early: what it says on standard error, and its exit code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from gateway.config import Settings

EXIT_CONFIG = 2
"""The configuration cannot be used; click ends with the same code on wrong usage."""


def fail(code: int, message: str) -> NoReturn:
    """Say ``message`` and end with ``code``."""
    click.echo(message, err=True)
    sys.exit(code)


def settings_of(config: Path) -> Settings:
    """The settings in a configuration file; where it has mistakes, name them all and end with ``EXIT_CONFIG``."""
    from gateway.config import load_settings
    from gateway.errors import ConfigError

    try:
        return load_settings(config, os.environ)
    except ConfigError as error:
        fail(EXIT_CONFIG, str(error))
