"""What a misspelt word was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST_WORD = 40
"""Characters that are compared: what is longer was hardly meant as a word."""


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is spelt most like ``word``, whatever the case and with '-' for '_'; None without any."""
    spellings = {_folded(name): name for name in known}
    close = difflib.get_close_matches(_folded(word[:_LONGEST_WORD]), spellings, n=1)
    return spellings[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about ``word``: `` (did you mean …?)``, '' where nothing is close."""
    close = closest(word, known)
    return f" (did you mean {close}?)" if close else ""


def _folded(word: str) -> str:
    return word.lower().replace("-", "_")
