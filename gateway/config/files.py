"""Files that a configuration names. All raise ``ValueError`` that never repeats a path or a content."""

from __future__ import annotations

import ssl
from pathlib import Path

MAX_SECRET_BYTES = 16_384


def absolute(written: str, folder: Path) -> Path:
    """A path relative to ``folder`` (the configuration file's), ``~/`` being the home directory."""
    if not written or not written.isprintable() or len(written) > 4_096:
        raise ValueError("not a path")
    try:
        path = Path(written).expanduser() if written.startswith("~/") else Path(written)
    except RuntimeError:
        raise ValueError("no home directory for '~'") from None
    return folder / path


def why_unreadable(path: Path) -> str | None:
    """What stands in the way of reading a file now, or None."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return _reason(error)
    return None


def read_secret(path: Path) -> str:
    """One line of text from a file, without white space around it."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ValueError(f"a file that cannot be read ({_reason(error)})") from None
    if len(raw) > MAX_SECRET_BYTES:
        raise ValueError(f"a file larger than {MAX_SECRET_BYTES} bytes")
    try:
        return raw.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("a file that is not UTF-8 text") from None


def check_certificates(path: Path) -> None:
    """Make sure that a PEM bundle can be trusted by TLS connections."""
    reason = why_unreadable(path)
    if reason is not None:
        raise ValueError(f"a file that cannot be read ({reason})")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except (OSError, ValueError):
        raise ValueError("a file without certificates in PEM form") from None


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
