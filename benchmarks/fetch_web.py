"""The pictures of `benchmarks.fetch` and the server that answers with them, in its own process."""

import asyncio
import contextlib
import datetime
import io
import ipaddress
import math
import multiprocessing
import pathlib
import ssl
from collections.abc import Iterator

import certifi
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from PIL import Image

MEAN_SIDE_PX = 1000
SPREAD = math.log(2)
"""Standard deviation of the logarithm of the short side. LAION-400M's is: of its images 51 % are at
least 256 px high and wide, 16 % at least 512, 2.3 % at least 1024 (published)."""
MAX_SHORT_PX = 3000
JPEG_SHARE = 0.87
PROGRESSIVE_SHARE = 0.25
COLOUR_SHARE = 0.25
"""Colours of photographs differ less than their lights."""
GRAIN_LEVELS = 5.0
GRAIN_PX = 512


def pictures(count: int, side_px: int = MEAN_SIDE_PX) -> list[bytes]:
    """Return files in the mix of the web: most are JPEG, a quarter of these progressive.

    Args:
        count: how many.
        side_px: side of the square that has as many pixels as the images in the mean.
    """
    shape = (GRAIN_PX, GRAIN_PX, 1)
    grain = np.random.default_rng(0).normal(0, GRAIN_LEVELS, shape).astype(np.int16)
    mean_ratio = 1 / math.log(2)  # of long to short side, from 1 to 2, uniform in its logarithm
    middle_px = side_px / math.sqrt(mean_ratio * math.exp(2 * SPREAD**2))
    made = []
    for number in range(count):
        random = np.random.default_rng(number)
        short = min(MAX_SHORT_PX, max(64, int(middle_px * math.exp(random.normal(0, SPREAD)))))
        sides = short, int(short * 2 ** random.uniform(0, 1))
        width, height = sides if random.uniform() < 0.5 else sides[::-1]
        smooth = _patches(random, width, height, 20, "L").convert("RGB")
        smooth = Image.blend(smooth, _patches(random, width, height, 80, "RGB"), COLOUR_SHARE)
        buffer = io.BytesIO()
        if random.uniform() < JPEG_SHARE:
            is_progressive = bool(random.uniform() < PROGRESSIVE_SHARE)
            repeats = (height // GRAIN_PX + 1, width // GRAIN_PX + 1, 1)
            pixels = np.asarray(smooth, np.int16) + np.tile(grain, repeats)[:height, :width]
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(buffer, "JPEG", quality=80, progressive=is_progressive)
        else:
            smooth.convert("P").save(buffer, "PNG", compress_level=1)
        made.append(buffer.getvalue())
    return made


def _patches(
    random: np.random.Generator, width: int, height: int, patch_px: int, mode: str
) -> Image.Image:
    """Return smooth patches of random levels."""
    size = (height // patch_px + 1, width // patch_px + 1, len(mode))
    levels = random.integers(0, 256, size, dtype=np.uint8)
    small = Image.fromarray(levels if mode == "RGB" else levels[:, :, 0])
    return small.resize((width, height), Image.Resampling.BICUBIC)


def authority(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Write a certificate for 127.0.0.1; return it, and a bundle of certifi's and it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem, bundle = folder / "server.pem", folder / "bundle.pem"
    pem.write_bytes(public + private)
    bundle.write_bytes(pathlib.Path(certifi.where()).read_bytes() + public)
    return pem, bundle


@contextlib.contextmanager
def serving(bodies: list[bytes], pem: pathlib.Path | None, after: float = 0.0) -> Iterator[int]:
    """Answer `/N.jpg` with body N modulo their number, each on a connection of its own.

    Args:
        bodies: what is served.
        pem: key and certificate for https; None for http.
        after: seconds before an answer.

    Yields:
        The port, open on all of 127.0.0.0/8.
    """
    context = multiprocessing.get_context("spawn")
    ready, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(bodies, pem, after, sender), daemon=True)
    process.start()
    try:
        yield int(ready.recv())
    finally:
        process.terminate()
        process.join()


def _serve(bodies: list[bytes], pem: pathlib.Path | None, after: float, sender: object) -> None:
    asyncio.run(_run(bodies, pem, after, sender))


async def _run(bodies: list[bytes], pem: pathlib.Path | None, after: float, sender: object) -> None:
    running: dict[str, int] = {}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            host = writer.get_extra_info("sockname")[0]
            running[host] = running.get(host, 0) + 1
            await asyncio.sleep(after)
            writer.write(_answer(head, bodies, running[host] > 1 and after > 0))
            running[host] -= 1
            await writer.drain()
        writer.close()

    context = None
    if pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
    address = "0.0.0.0" if after else "127.0.0.1"  # noqa: S104 (all of loopback is asked)
    server = await asyncio.start_server(talk, address, 0, ssl=context, backlog=1024)
    sender.send(server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
    await server.serve_forever()


def _answer(head: bytes, bodies: list[bytes], is_broken: bool) -> bytes:
    """Return an answer; a host that is asked twice at once says so with 418."""
    path = head.split(b" ", 2)[1]
    name = path[1:].partition(b".")[0]
    if is_broken:
        return b"HTTP/1.1 418 Two at once\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    if not name.isdigit():
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    body = bodies[int(name) % len(bodies)]
    kind = b"image/png" if body.startswith(b"\x89P") else b"image/jpeg"
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        % (kind, len(body))
        + body
    )
