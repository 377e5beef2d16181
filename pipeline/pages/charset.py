"""The encoding that HTTP declares; what the page itself declares is the parser's to find."""

import re
from collections.abc import Iterable

# One class between literals: linear.
_CHARSET = re.compile(r"""charset\s*=\s*["']?([^\s"';,]{1,40})""", re.IGNORECASE)


def header_charset(values: Iterable[str]) -> str | None:
    """Return the charset label of the first Content-Type that has one; it may be a bogus one."""
    found = (_CHARSET.search(value) for value in values)
    return next((match[1] for match in found if match), None)
