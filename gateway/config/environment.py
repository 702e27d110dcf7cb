"""``${NAME}`` in a configuration's values.

::

    reference = "${" name "}"
    name      = ( ALPHA / "_" ) *( ALPHA / DIGIT / "_" )
    escape    = "$${"                 ; the two characters "${"
    anything else, a lone "$" too, stands for itself
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\{")
_POSTGRES = "postgresql://"


def substitute(text: str, env: Mapping[str, str]) -> str:
    """Replace each ``${NAME}``; what it stands for is not searched again.

    A variable that is unset or empty raises ``ValueError``: an empty password or key is a mistake that would only
    show much later. The password of a ``postgresql://`` URL is percent-encoded here (RFC 3986 section 3.2.1), so that
    the variable holds the password as it is. The message holds names, never values.
    """

    def value(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        if match[1] is None:
            raise ValueError("'${' without a name and '}', expected ${NAME}; write $${ for the characters themselves")
        found = _variable(match[1], env)
        return quote(found, safe="") if _is_password(text, match) else found

    return _REFERENCE.sub(value, text)


def _variable(name: str, env: Mapping[str, str]) -> str:
    found = env.get(name)
    if found is None:
        raise ValueError(f"environment variable {name} is not set")
    if not found:
        raise ValueError(f"environment variable {name} is empty")
    try:
        found.encode()
    except UnicodeEncodeError:
        raise ValueError(f"environment variable {name} is not UTF-8 text") from None
    return found


def _is_password(text: str, match: re.Match[str]) -> bool:
    before, after = text[: match.start()], text[match.end() :]
    in_userinfo = before.startswith(_POSTGRES) and "/" not in before[len(_POSTGRES) :]
    return in_userinfo and before[len(_POSTGRES) :].count(":") == 1 and before.endswith(":") and after.startswith("@")
