"""Many short texts from one draw of bytes: hypothesis needs as long for one draw as our parsers for a hundred texts."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

TEXTS_PER_EXAMPLE = 8
_BYTES_PER_TEXT = 16


def texts(pieces: Sequence[str]) -> st.SearchStrategy[list[str]]:
    """Eight texts of up to fifteen of ``pieces`` each."""
    length = TEXTS_PER_EXAMPLE * _BYTES_PER_TEXT
    return st.binary(min_size=length, max_size=length).map(lambda data: _texts(pieces, data))


def _texts(pieces: Sequence[str], data: bytes) -> list[str]:
    chunks = [data[start : start + _BYTES_PER_TEXT] for start in range(0, len(data), _BYTES_PER_TEXT)]
    return [
        "".join(pieces[byte % len(pieces)] for byte in chunk[1 : 1 + chunk[0] % _BYTES_PER_TEXT]) for chunk in chunks
    ]
