"""robots.txt by RFC 9309, on bytes, whatever a file holds: rules of our group to a decision."""

import codecs
import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

from filters.consent.content_usage import statements
from filters.consent.path_pattern import PathPattern, asked_path

MAX_ROBOTS_BYTES = 512 << 10
"""Read of a file; the RFC asks for at least 500 KiB."""
MAX_PIECES = 30_000
"""Pieces between stars, of all rules; beyond, a rule with stars is cut or dropped. Measured: a
decision over so many takes under 10 ms; real files have a few thousand at most."""

PRODUCT = "openwit"
"""Our product token."""
_BOMS = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_LINE_END = re.compile(rb"\r\n|\n|\r")
_TOKEN = re.compile(rb"[A-Za-z_-]*")
# Two classes that share no byte, one after the other: linear.
_FIELD = re.compile(rb"([^:\s]+)(?:[ \t]*:|[ \t])[ \t]*")
_SECONDS = re.compile(rb"\d{1,9}(?:\.\d{1,9})?")
_SAID = ("y", "n")
_USAGE_PATH = re.compile(r"(/[^ \t]*)[ \t]+(.*)", re.DOTALL)


@dataclasses.dataclass(slots=True)
class _Group:
    """What all groups of one agent say together."""

    rules: list[tuple[bytes, bool]] = dataclasses.field(default_factory=list)
    """(path as found, whether it allows)."""
    usage: list[str] = dataclasses.field(default_factory=list)
    delay_seconds: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Robots:
    """The rules that bind one agent."""

    rules: tuple[tuple[PathPattern, bool], ...] = ()
    """(pattern, whether it allows), the deciding one first: longest first, of equals Allow."""
    delay_seconds: float | None = None
    """Crawl-delay."""
    usage: tuple[tuple[PathPattern, dict[str, str]], ...] = ()
    """(path, tokens by key) of Content-Usage lines."""

    def refuses(self, path: str) -> bool:
        """Tell whether a path with its query may not be asked for."""
        asked = asked_path(path.encode())
        if asked == b"/robots.txt":
            return False
        return not next((allows for rule, allows in self.rules if rule.matches(asked)), True)

    def usage_refused(self, path: str, keys: Sequence[str]) -> list[str]:
        """Return those of `keys` that Content-Usage lines disallow for a path.

        The longest line that says `y` or `n` of a key decides it; of equals any `n`.
        """
        if not self.usage:
            return []
        asked = asked_path(path.encode())
        found = [(rule.length, stated) for rule, stated in self.usage if rule.matches(asked)]
        refused = []
        for key in keys:
            said = [(length, stated[key]) for length, stated in found if stated.get(key) in _SAID]
            # "n" sorts before "y": of equal lengths the smaller token decides
            if said and min(said, key=lambda line: (-line[0], line[1]))[1] == "n":
                refused.append(key)
        return refused


def parse_robots(body: bytes, tokens: Iterable[str] = (PRODUCT,)) -> list[Robots]:
    """Return the rules for each token: those of its own groups, else those of `*`.

    Args:
        body: of the file; what is beyond `MAX_ROBOTS_BYTES` is cut at the last line end.
        tokens: product tokens in any case; each is judged alike, and any refusal counts.
    """
    wanted = [token.lower().encode() for token in tokens]
    groups = _groups(_lines(body), frozenset([*wanted, b"*"]))
    chosen = [groups.get(token, groups.get(b"*")) for token in wanted]
    return [_robots(group) if group else Robots() for group in chosen]


def _lines(body: bytes) -> Iterator[bytes]:
    """Yield the lines without comments and surrounding blanks; none if the file is markup."""
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            body = body[2:].decode(encoding, "replace").encode()
    body = body.removeprefix(codecs.BOM_UTF8)
    if len(body) > MAX_ROBOTS_BYTES:
        body = body[:MAX_ROBOTS_BYTES]
        body = body[: max(body.rfind(b"\n"), body.rfind(b"\r")) + 1]
    if body.lstrip()[:1] == b"<":
        return
    for line in _LINE_END.split(body):
        text = line.partition(b"#")[0].strip()
        if text:
            yield text


def _groups(lines: Iterable[bytes], wanted: frozenset[bytes]) -> dict[bytes, _Group]:
    """Join the groups of each wanted agent; a line of an unknown name never closes a group."""
    groups: dict[bytes, _Group] = {}
    current: dict[bytes, _Group] = {}
    in_agents = False
    for line in lines:
        field = _FIELD.match(line)
        if not field:
            continue
        name, value = field[1].lower(), line[field.end() :]
        if name == b"user-agent":
            if not in_agents:
                current = {}
            in_agents = True
            agent = _agent(value)
            if agent in wanted:
                current[agent] = groups.setdefault(agent, _Group())
        elif name in _TAKES:
            # Crawl-delay is no rule of the RFC: agents before and after it share what follows.
            in_agents = in_agents and name == b"crawl-delay"
            for group in current.values():
                _TAKES[name](group, value)
    return groups


def _agent(value: bytes) -> bytes:
    if value.startswith(b"*"):
        return b"*"
    found = _TOKEN.match(value)
    return found[0].lower() if found else b""


def _take_delay(group: _Group, value: bytes) -> None:
    if _SECONDS.fullmatch(value):
        group.delay_seconds = max(group.delay_seconds or 0.0, float(value))


def _take_usage(group: _Group, value: bytes) -> None:
    group.usage.append(value.decode("latin-1"))


_TAKES = {
    b"allow": lambda group, value: group.rules.append((value, True)),
    b"disallow": lambda group, value: group.rules.append((value, False)),
    b"crawl-delay": _take_delay,
    b"content-usage": _take_usage,
}


def _robots(group: _Group) -> Robots:
    found: dict[PathPattern, bool] = {}
    pieces = 0
    for path, allows in dict.fromkeys(group.rules):
        if not path:  # says nothing, RFC 9309 section 2.2.2
            continue
        pieces += path.count(b"*")
        if pieces > MAX_PIECES and b"*" in path:
            if allows:
                continue
            path = path.partition(b"*")[0]  # more is refused, never less
        pattern = PathPattern.parse(path)
        found[pattern] = allows or found.get(pattern, False)
    rules = sorted(found.items(), key=lambda rule: (-rule[0].length, not rule[1]))
    return Robots(tuple(rules), group.delay_seconds, tuple(map(_usage, group.usage)))


def _usage(value: str) -> tuple[PathPattern, dict[str, str]]:
    found = _USAGE_PATH.fullmatch(value)
    path, text = (found[1], found[2]) if found else ("/", value)
    return PathPattern.parse(path.encode("latin-1")), statements([text])
