"""Wikitext to segments of plain text: paragraphs, list items and headings, with their links."""

import dataclasses
import re
import unicodedata

import mwparserfromhell
from mwparserfromhell import nodes

BREAK = "\x00"
"""Ends a segment; XML 1.0 allows neither this character nor the next in a dump."""
ITEM = "\x01"
"""Begins a segment that ends with its line."""
MAX_TITLE_BYTES = 255
"""MediaWiki's limit of a title."""

DROPPED_TAGS = frozenset(
    {
        *("ref", "references", "table", "math", "chem", "ce", "score", "timeline", "graph"),
        *("gallery", "imagemap", "inputbox", "categorytree", "section", "templatedata"),
        *("syntaxhighlight", "source", "hiero", "mapframe", "maplink", "templatestyles"),
        *("style", "script"),
    }
)
"""Contents that are no running text."""
BLOCK_TAGS = frozenset({"blockquote", "center", "div", "hr", "ol", "p", "pre", "ul"})
ITEM_TAGS = frozenset({"dd", "dt", "li"})
MAX_RESCANS = 10_000_000
"""Unclosed marks times length beyond which a page is not parsed: each unclosed mark makes the
parser read on to the end of the page (measured: up to 150 ns a character)."""
DROPPED_LINKS = frozenset({"category", "file", "image", "media"})
"""Links whose prefix is one of these, or a local name of them, go with their captions."""


@dataclasses.dataclass(frozen=True, slots=True)
class PlainPage:
    """What is left of a page."""

    segments: list[str]
    links: list[str]
    """Titles linked from the kept text, each once, sorted."""


def plain_page(wikitext: str, dropped_links: frozenset[str] = DROPPED_LINKS) -> PlainPage | None:
    """Return a page's segments and links, or None if the parser gives up.

    Args:
        wikitext: at most `dump.MAX_TEXT_BYTES` of it.
        dropped_links: lower-case prefixes of links that go.
    """
    if unclosed_marks(wikitext) * len(wikitext) > MAX_RESCANS:
        return None
    walk = _Walk(dropped_links)
    try:
        walk.visit(mwparserfromhell.parse(wikitext))
    except (mwparserfromhell.parser.ParserError, RecursionError):  # templates in templates
        return None
    return PlainPage(_segments("".join(walk.pieces)), sorted(walk.links))


# Linear: fixed alternatives, each found where it begins. Single tags wait for `>` alone.
_MARKS = re.compile(
    r"<!--|-->|\[\[|\]\]|\{\{|\}\}|\{\||\|\}|\[|\]|/>|>"
    r"|<(?=(?:br|hr|wbr|img|li|dd|dt|th|td|tr)\b)|</(?=[a-zA-Z])|<(?=[a-zA-Z])"
)
_STEPS = {
    "<!--": (("comment", 1),),
    "-->": (("comment", -1),),
    "[[": (("link", 1),),
    "]]": (("link", -1),),
    "[": (("bracket", 1),),
    "]": (("bracket", -1),),
    "{{": (("template", 1),),
    "}}": (("template", -1),),
    "{|": (("table", 1),),
    "|}": (("table", -1),),
    "<": (("angle", 1), ("element", 1)),
    "</": (("angle", 1), ("element", -1)),
    "/>": (("angle", -1), ("element", -1)),
    ">": (("angle", -1),),
    "": (("angle", 1),),  # a single tag
}
_SINGLE = re.compile(r"<(?:br|hr|wbr|img|li|dd|dt|th|td|tr)\b")


def unclosed_marks(wikitext: str) -> int:
    """Return how many comments, links, templates, tables and tags begin and do not end, about."""
    names = ("comment", "link", "bracket", "template", "table", "angle", "element")
    depth = dict.fromkeys(names, 0)
    for mark in _MARKS.finditer(wikitext):
        single = mark[0] == "<" and _SINGLE.match(wikitext, mark.start()) is not None
        for name, step in _STEPS["" if single else mark[0]]:
            depth[name] = max(0, depth[name] + step)
    return sum(depth.values())


class _Walk:
    """Collects kept text in reading order; the parser bounds the depth (40)."""

    def __init__(self, dropped_links: frozenset[str]) -> None:
        self.pieces: list[str] = []
        self.links: set[str] = set()
        self._dropped_links = dropped_links

    def visit(self, code: mwparserfromhell.wikicode.Wikicode | None) -> None:
        for node in code.nodes if code is not None else ():
            if isinstance(node, nodes.Text):
                self.pieces.append(node.value)
            elif isinstance(node, nodes.Wikilink):
                self._link(node)
            elif isinstance(node, nodes.Tag):
                self._tag(node)
            elif isinstance(node, nodes.Heading):
                self._block(node.title)
            elif isinstance(node, nodes.ExternalLink):  # a bare address has no label
                self.visit(node.title)
            elif isinstance(node, nodes.HTMLEntity):
                self.pieces.append(_entity(node))
            # Templates, arguments and comments go.

    def _link(self, node: nodes.Wikilink) -> None:
        target = str(node.title)
        prefix, colon, _ = target.partition(":")
        if colon and prefix.strip().lower() in self._dropped_links:
            return
        title = link_title(target)
        if title:
            self.links.add(title)
        if node.text is None:
            self.pieces.append(target.strip().removeprefix(":"))
        else:
            self.visit(node.text)

    def _tag(self, node: nodes.Tag) -> None:
        name = str(node.tag).strip().lower()
        if name in DROPPED_TAGS:
            return
        if name in ITEM_TAGS and node.wiki_markup:  # `*` alone: its text follows as siblings
            self.pieces.append(ITEM)
        elif name in ITEM_TAGS or name in BLOCK_TAGS:
            self._block(node.contents)
        elif name == "br":
            self.pieces.append(" ")
        else:
            self.visit(node.contents)

    def _block(self, code: mwparserfromhell.wikicode.Wikicode | None) -> None:
        self.pieces.append(BREAK)
        self.visit(code)
        self.pieces.append(BREAK)


def link_title(target: str) -> str:
    """Return the title that a link names, in MediaWiki's form; empty if it names no page here.

    The first letter is made upper case, as on Wikipedia.
    """
    title = " ".join(target.partition("#")[0].replace("_", " ").split()).removeprefix(":").lstrip()
    if not title or any(character in title for character in "<>[]{}|\x00\x01"):
        return ""
    return upper_first(title) if len(title.encode()) <= MAX_TITLE_BYTES else ""


def upper_first(title: str) -> str:
    """Return a title with its first letter in upper case, if that is one character."""
    first = title[:1].upper()
    return first + title[1:] if len(first) == 1 else title


# Linear: two classes that share no character.
_PARAGRAPHS = re.compile(r"\n[ \t\r]*\n")


def _segments(text: str) -> list[str]:
    segments: list[str] = []
    for block in text.split(BREAK):
        for paragraph in _PARAGRAPHS.split(block):
            lines: list[str] = []
            for line in paragraph.split("\n"):
                if ITEM in line:
                    segments.extend((" ".join(lines), line.replace(ITEM, " ")))
                    lines = []
                else:
                    lines.append(line)
            segments.append(" ".join(lines))
    return [stripped for segment in segments if (stripped := segment.strip())]


def _entity(node: nodes.HTMLEntity) -> str:
    try:
        character = node.normalize()
    except (ValueError, OverflowError):
        return " "
    return " " if unicodedata.category(character[:1] or " ") in ("Cc", "Cs") else character
