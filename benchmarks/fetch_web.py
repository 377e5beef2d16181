"""The pictures of `benchmarks.fetch` and the server that answers with them, in its own process."""

import asyncio
import contextlib
import datetime
import io
import ipaddress
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
JPEG_SHARE = 0.87
PROGRESSIVE_SHARE = 0.25


def pictures(count: int, side_px: int = MEAN_SIDE_PX) -> list[bytes]:
    """Return files in the mix of the web: most are JPEG, a quarter of these progressive."""
    grain = np.random.default_rng(0).normal(0, 7, (2 * side_px, 2 * side_px, 1)).astype(np.int16)
    made = []
    for number in range(count):
        random = np.random.default_rng(number)
        width = int(side_px * random.uniform(0.7, 1.4))
        height = int(side_px * side_px / width)
        small = random.integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
        smooth = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(smooth, np.int16) + grain[:height, :width]
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        buffer = io.BytesIO()
        if random.uniform() < JPEG_SHARE:
            is_progressive = bool(random.uniform() < PROGRESSIVE_SHARE)
            image.save(buffer, "JPEG", quality=75, progressive=is_progressive)
        else:
            image.convert("P").save(buffer, "PNG", compress_level=1)
        made.append(buffer.getvalue())
    return made


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
