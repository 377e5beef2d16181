"""Fuzz what reads other people's bytes: `python -m benchmarks.extract_fuzz [TARGET ...]`.

Inputs are sound ones, cut, joined and with bytes changed, by a seed; so a finding can be repeated.
Nothing may raise, break a sum or take more than a second. A finding is printed as bytes to be made
a test, and ends the run with an error.
"""

import argparse
import dataclasses
import gzip
import io
import pathlib
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from benchmarks.extract_archives import write_warc, write_wat
from benchmarks.extract_data import make_pages
from filters.consent.content_usage import disallowed
from filters.consent.robots_tag import directives
from pipeline.pages.candidates import CandidateBatch, ElementDrops
from pipeline.pages.charset import header_charset
from pipeline.pages.columns import CandidateColumns, PageValues
from pipeline.pages.html import parse_page
from pipeline.pages.image_elements import CandidateRules
from pipeline.pages.page import META_NAMES, PageLimits
from pipeline.pages.srcset import by_preference, parse_srcset
from pipeline.pages.texts import SOURCES
from pipeline.readers.framing import BadRegion, Limits
from pipeline.readers.headers import Headers, content_length, media_type, record_time
from pipeline.readers.reasons import Fault
from pipeline.readers.warc import content_types, parse_message, read_records, target_url
from pipeline.readers.wat import WatReader

MAX_CPU_SECONDS = 1.0
LIMITS = Limits(record_bytes=1 << 20, header_bytes=4_096)
RULES = CandidateRules(text_sources=SOURCES, url_rule="best", max_srcset_width=2048, max_images=500)
VALUES = PageValues(
    page_url="https://p.example/d/p.html",
    page_lang=None,
    charset=None,
    license_url=None,
    license_source=None,
    optout=(),
    page_tdm=None,
    source_file="x",
    source_offset=0,
    source_length=None,
    record_id=None,
    record_date=None,
)
MARKUP = b"""<img <IMG <amp-img <input type=image <noscript> </noscript> <figure> <figcaption>
</figure> <picture> <source </picture> <template> </template> src=a.jpg src="//h/b.gif"
<template shadowrootmode=open> src='data:,x' data-src=c.jpg srcset="d.jpg 2x, e.jpg 9w" alt=dog
alt="a&amp;amp; &copy=1 &#xD800;&#0;" alt='\xff\xfe' title=x width=1 width=640 class=lazy
<base href=/i/> <meta property=og:image content=a.jpg> <meta property=og:image:alt content=b>
<meta charset=utf-16> <script type=application/ld+json>{"@type":"ImageObject","url":"a.jpg",
"name":"n"}</script> <!-- --> > /> " ' = < & \x00 <table> <td> <p> </p> <b> <svg> <math>
<plaintext> <title> ]]> <![CDATA["""
HEADER = (
    b'Content-Type: text/html; charset="utf-8"\r\nContent-Length: 12\r\n folded\r\n'
    b'X-Robots-Tag: bot: noai, max-snippet:-1\r\nContent-Usage: train-ai=n;x=1, "a"\r\n'
    b"WARC-Date: 2024-05-06T07:08:09Z\r\nContent-Encoding: gzip, br\r\n"
    b"Transfer-Encoding: chunked\r\nWARC-Target-URI: <http://h/\xff>"
)


def check_archive(data: bytes) -> None:
    """Read an archive and the message in each record."""
    end = 0
    for found in read_records(io.BytesIO(data), LIMITS, block_bytes=1 << 12):
        if not end <= found.offset + found.length <= len(data):
            raise AssertionError(f"{found.offset} + {found.length} after {end}")
        end = max(end, found.offset)
        if isinstance(found, BadRegion):
            continue
        target_url(found.headers)
        message = parse_message(found, LIMITS.header_bytes)
        if not isinstance(message, Fault):
            content_types(found, message)
            message.decoded(1 << 20)


def check_wat(data: bytes) -> None:
    """Read a WAT file."""
    reader = WatReader("CC-MAIN-2018-05", "auto", META_NAMES, {"x-robots-tag"})
    for found in read_records(io.BytesIO(data), LIMITS):
        if not isinstance(found, BadRegion):
            reader.read(found)


def check_page(data: bytes) -> None:
    """Parse a page and judge its images, by all rules; rows and drops are what was seen."""
    for rules in (RULES, dataclasses.replace(RULES, url_rule="src", text_sources=("alt",))):
        limits = PageLimits(max_tags=20_000, max_images=rules.max_images, max_links=99)
        page = parse_page(data, None, limits, rules.text_sources)
        if page is None:
            continue
        columns, drops = CandidateColumns(), ElementDrops()
        batch = CandidateBatch(rules, columns, drops)
        seen = batch.add_page(page, VALUES, [])
        batch.judge()
        rows = columns.to_batch().num_rows
        if seen != rows + drops.counts.total() + len(drops.rows):
            raise AssertionError(f"{seen} images are not {rows} rows and {drops}")


def check_srcset(data: bytes) -> None:
    """Parse a srcset."""
    found = parse_srcset(data.decode("latin-1"))
    if len(by_preference(found, 2048)) > len(found):
        raise AssertionError("more candidates than there are")


def check_headers(data: bytes) -> None:
    """Parse a header block and all that is made of its values."""
    headers = Headers(data)
    content_length(headers)
    target_url(headers)
    values = [value for _, value in headers]
    directives(values)
    disallowed(values, ["train-ai"])
    header_charset(values)
    for value in values:
        media_type(value)
        record_time(value)


def seeds(folder: pathlib.Path) -> dict[str, tuple[Callable[[bytes], None], list[bytes]]]:
    """Return each target with sound inputs."""
    pages = make_pages(3)
    warc, wat = folder / "fuzz.warc.gz", folder / "fuzz.wat.gz"
    write_warc(warc, pages.items())
    write_wat(wat, pages.items())
    packed, packed_wat = warc.read_bytes(), wat.read_bytes()
    words = MARKUP.split()
    sets = [b"a.jpg 1x, b.jpg 2x", b"a,b.jpg 400w (x), c 1e3x 9h", b" , d 1w 2h,, e ( , )"]
    return {
        "archive": (check_archive, [packed, gzip.decompress(packed)]),
        "wat": (check_wat, [gzip.decompress(packed_wat), packed_wat]),
        "page": (check_page, [MARKUP, b" ".join(words[:30]), *pages.values(), *words]),
        "srcset": (check_srcset, sets),
        "headers": (check_headers, [HEADER, *HEADER.split(b"\r\n")]),
    }


def mutated(inputs: Sequence[bytes], chance: random.Random) -> bytes:
    """Return pieces of inputs, some of them changed, moved or repeated."""
    data = bytearray(chance.choice(inputs))
    for _ in range(chance.randrange(1, 9)):
        at = chance.randrange(len(data) + 1)
        size = min(chance.choice((1, 1, 2, 8, 64, 1024)), len(data) - at)
        other = chance.choice(inputs)
        begin = chance.randrange(len(other) + 1)
        piece = other[begin : begin + chance.choice((1, 8, 64, 1024))]
        match chance.randrange(6):
            case 0:
                data[at : at + size] = chance.randbytes(size)
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = piece
            case 3:
                data[at:at] = piece * chance.choice((2, 50))
            case 4:
                del data[at:]
            case _:
                data[at : at + 1] = chance.choice((b"\0", b"<", b">", b'"', b"\r\n", b"9", b"\xff"))
    return bytes(data)


def fuzz(check: Callable[[bytes], None], inputs: list[bytes], seconds: float, seed: int) -> int:
    """Return how many inputs were tried.

    Raises:
        AssertionError: at the first finding, with the input.
    """
    chance, until, count = random.Random(seed), time.monotonic() + seconds, 0  # noqa: S311
    while time.monotonic() < until:
        data = mutated(inputs, chance)
        start = time.process_time()
        try:
            check(data)
        except Exception as error:
            raise AssertionError(f"{check.__name__}({data!r})") from error
        taken = time.process_time() - start
        if taken > MAX_CPU_SECONDS:
            raise AssertionError(f"{check.__name__}({data!r}): {taken:.1f} s")
        count += 1
    return count


def main() -> None:
    """Fuzz the targets one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="archive, wat, page, srcset, headers; else all")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        known = seeds(pathlib.Path(folder))
    for name in arguments.targets or known:
        count = fuzz(*known[name], arguments.seconds, arguments.seed)
        sys.stdout.write(f"{name}: {count} inputs in {arguments.seconds:.0f} s, nothing found\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
