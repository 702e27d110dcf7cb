"""L402 Gateway: an HTTP reverse proxy that sells requests for bitcoin over Lightning."""

__version__ = "0.1.0"
