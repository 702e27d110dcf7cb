"""YAML to frozen values, with file:line:column errors."""

from gateway.config.loading import load_settings
from gateway.config.settings import Settings

__all__ = ["Settings", "load_settings"]
