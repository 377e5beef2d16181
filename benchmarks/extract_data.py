"""Pages for `benchmarks.extract`, real, made or hostile."""

import hashlib
import html
import json
import pathlib
import re
import tarfile
from collections.abc import Iterator

from benchmarks.harness import MissingError
from pipeline.pages.image_url import STRONG_LAZY

SUFFIXES = (".html", ".htm")
_ALT = re.compile(rb"""(\balt=["'])(?=[^"'])""")
WORDS = re.findall(
    "[a-z]+",
    "the of and to in is on for as with was at by from that this river house market garden "
    "winter morning picture city train window light music",
)


def load_pages(source: str) -> dict[str, bytes]:
    """Return the HTML files of a folder or tar by name, sorted.

    Raises:
        MissingError: if there are none.
    """
    path = pathlib.Path(source)
    if path.is_dir():
        found = {
            str(file.relative_to(path)): file.read_bytes()
            for file in path.rglob("*")
            if file.suffix in SUFFIXES
        }
    elif path.is_file():
        with tarfile.open(path) as archive:
            files = [each for each in archive if each.isfile() and each.name.endswith(SUFFIXES)]
            found = {each.name: _content(archive, each) for each in files}
    else:
        found = {}
    if not found:
        raise MissingError(f"--pages {source}: no HTML files: name a folder or tar that has some")
    return dict(sorted(found.items()))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


def make_pages(count: int, scale: int = 1) -> dict[str, bytes]:
    """Return made pages; a scale of 20 has the size, links and images of an article's page."""
    return {f"made/{number}.html": _page(number, scale) for number in range(count)}


def _page(number: int, scale: int) -> bytes:
    noise = hashlib.shake_256(str(number).encode()).digest(4000)
    text = [WORDS[byte % len(WORDS)] for byte in noise]
    parts = [f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{number}</title>"]
    parts += [f'<meta property="x:{n}" content="{" ".join(text[n : n + 9])}">' for n in range(20)]
    script = (noise.hex() * 8)[: 1500 * scale]
    parts += [f"<script>var s{n} = {json.dumps(script)};</script>" for n in (1, 2)]
    parts.append("<body>")
    for n in range(scale):
        links = "".join(
            f'<li class="item item-{k}"><a href="/{text[k]}/{n}?p={k}"><span>{text[k]}</span></a>'
            for k in range(8)
        )
        alt = html.escape(" ".join(text[n * 7 : n * 7 + 5])) if n % 3 else ""
        parts.append(
            f"<ul>{links}</ul><div class=row><p>{' '.join(text[n * 11 : n * 11 + 120])}</p>"
            f'<img class=photo src="../img/{number}-{n}.jpg?w=640" alt="{alt}" width=640>'
            f"<p>{' '.join(text[n * 5 : n * 5 + 60])}</p></div>"
        )
    return "\n".join(parts).encode()


def repeated(pages: dict[str, bytes], times: int) -> Iterator[tuple[str, bytes]]:
    """Yield all pages so many times, each under a name and with alt texts of its own."""
    for number in range(times):
        for name, body in pages.items():
            yield f"{number}/{name}", _ALT.sub(rb"\g<1>%d " % number, body) if number else body


def hostile_pages() -> dict[str, bytes]:
    """Return pages made to be expensive."""
    marks = "a" + "\u0301\u0327" * 4000
    placeholders = ",".join(f"{number}/1x1.gif {number + 1}w" for number in range(256))
    sources = f'<source srcset="{placeholders}">' * 64
    lazy = " ".join(f"{name}=1x1.gif" for name in STRONG_LAZY)
    return {
        "nested": b"<div>" * 100_000 + b"<img src=a.jpg alt=x>",
        "attributes": b"<img " + b" ".join(b"a%d=1" % n for n in range(100_000)) + b" src=a alt=b>",
        "images": b"<img src=a.jpg alt=x>" * 240_000,
        "long alt": b'<img src=a.jpg alt="' + b"word " * 4_000_000 + b'">',
        "open quote": b'<img src=a.jpg alt="' + b"<img src=b.jpg alt=x>" * 200_000,
        "open comment": b"<!--" + b"<img src=b.jpg alt=x>" * 200_000,
        "plaintext": b"<plaintext>" + b"<img src=b.jpg alt=x>" * 200_000,
        "NULs": bytes(5 << 20),
        "marks": "".join(f'<img src={n}.jpg alt="{marks}">' for n in range(300)).encode(),
        "srcset": b'<img alt=x srcset="' + b"a.jpg 1w, " * 400_000 + b'">',
        "parentheses": b'<img alt=x srcset="' + b"a (" * 1_000_000 + b'">',
        "figures": b"<figure><figcaption>x</figcaption><img src=a.jpg alt=x>" * 60_000,
        "noscripts": b"<img src=a.gif alt=x><noscript><img src=b.jpg></noscript>" * 80_000,
        "pictures": b"<picture><source srcset=a.jpg><img alt=x></picture>" * 90_000,
        "one picture": f"<picture>{sources}{'<img alt=x>' * 10_000}</picture>".encode(),
        "lazy": f"<img alt=x {lazy}>".encode() * 10_000,
        "formatting": b"<b><i><u><a href=x><font>" * 40_000 + b"<img src=a.jpg alt=x>",
        "tables": b"<table><td>" * 60_000 + b"<img src=a.jpg alt=x>" * 1000,
    }
