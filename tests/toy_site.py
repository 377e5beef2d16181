"""A small made-up site as WARC files: pages, images, and what real archives hold besides."""

import gzip
import hashlib
import io
import pathlib
from collections.abc import Iterator

from PIL import Image, ImageDraw, ImageFilter

HOST = "http://toy.example"
COLOURS = ("red", "green", "blue", "yellow", "white", "black", "orange", "purple")
SHAPES = ("circle", "square", "triangle", "cross")
QUERIES = (*COLOURS, *SHAPES, "on a", "ground", "no such words")
DATE = "2026-01-02T03:04:05Z"
PIXELS = 96


def texts() -> list[str]:
    """Return one text per picture, all different."""
    return [
        f"a {colour} {shape} on a {ground} ground"
        for colour in COLOURS
        for shape in SHAPES
        for ground in COLOURS
        if ground != colour
    ]


def write_archives(folder: pathlib.Path, *, archives: int = 3, pictures: int = 90) -> list[str]:
    """Write `archives` WARC files that hold `pictures` pictures on pages of ten; return names.

    Among them are, once each: a picture twice under two names, a tiny one, a banner that is too
    wide, a broken one, an image that is not archived, and a page that opts out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = sorted(texts(), key=lambda text: hashlib.sha256(text.encode()).digest())[:pictures]
    names = []
    for number in range(archives):
        own = chosen[number::archives]
        names.append(f"toy-{number}.warc.gz")
        with (folder / names[-1]).open("wb") as file:
            for start in range(0, len(own), 10):
                page = f"{HOST}/{number}/{start}.html"
                first = number == 0 and start == 0
                file.writelines(_page_records(page, own[start : start + 10], first=first))
    return names


def picture(text: str, size: int = PIXELS) -> Image.Image:
    """Return the picture that a text of `texts` says, with a texture of its own."""
    colour, shape, ground = text.split()[1], text.split()[2], text.split()[5]
    image = Image.new("RGB", (size, size), ground)
    seed = hashlib.shake_256(text.encode()).digest(64)
    draw = ImageDraw.Draw(image)
    for index in range(0, 60, 4):  # so that no two pictures are near-duplicates
        left, top, width, shade = (byte * size // 256 for byte in seed[index : index + 4])
        draw.rectangle((left, top, left + width // 3, top + 9), fill=(shade * 2, left, top))
    edge, far = size // 4, 3 * size // 4
    if shape == "circle":
        draw.ellipse((edge, edge, far, far), fill=colour)
    elif shape == "square":
        draw.rectangle((edge, edge, far, far), fill=colour)
    elif shape == "triangle":
        draw.polygon([(size // 2, edge), (edge, far), (far, far)], fill=colour)
    else:
        draw.rectangle((size // 2 - 8, edge, size // 2 + 8, far), fill=colour)
        draw.rectangle((edge, size // 2 - 8, far, size // 2 + 8), fill=colour)
    return image.filter(ImageFilter.GaussianBlur(1))


def _page_records(url: str, own: list[str], *, first: bool) -> Iterator[bytes]:
    parts = []
    for text in own:
        address = f"/img/{hashlib.sha256(text.encode()).hexdigest()[:8]}.png"
        parts.append(f'<img src="{address}" alt="{text}">')
        yield _record(HOST + address, "image/png", _png(picture(text)))
    if first:
        for name, text, data in [
            ("twice.png", "the same red circle", _png(picture(own[0]))),
            ("tiny.png", "a tiny red circle", _png(picture(own[0], 20))),
            ("banner.png", "a wide red banner", _png(picture(own[0]).resize((900, 70)))),
            ("broken.png", "a broken red circle", _png(picture(own[0]))[:500]),
            ("absent.png", "an absent red circle", b""),
        ]:
            parts.append(f'<img src="/img/{name}" alt="{text}">')
            if data:
                yield _record(f"{HOST}/img/{name}", "image/png", data)
        refusing = '<meta name="robots" content="noai"><img src="/img/no.png" alt="a red no">'
        yield _record(f"{HOST}/no.html", "text/html", refusing.encode())
        yield _record(f"{HOST}/img/no.png", "image/png", _png(picture(own[1])))
    yield _record(url, "text/html; charset=utf-8", "\n".join(parts).encode())


def _record(url: str, media_type: str, body: bytes) -> bytes:
    """Return a response record, a gzip member of its own."""
    http = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n\r\n".encode() + body
    head = [
        "WARC/1.1",
        "WARC-Type: response",
        f"WARC-Record-ID: <urn:uuid:{hashlib.sha256(url.encode()).hexdigest()[:32]}>",
        f"WARC-Target-URI: {url}",
        f"WARC-Date: {DATE}",
        "Content-Type: application/http; msgtype=response",
        f"Content-Length: {len(http)}",
    ]
    return gzip.compress("\r\n".join(head).encode() + b"\r\n\r\n" + http + b"\r\n\r\n", mtime=0)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
