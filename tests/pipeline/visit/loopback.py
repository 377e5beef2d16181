"""A web on loopback whose answers are raw bytes; its log says what was asked, when and by whom."""

import contextlib
import dataclasses
import datetime
import ipaddress
import pathlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = Callable[["Exchange"], None]
KEEP_SECONDS = 5.0


@dataclasses.dataclass
class Exchange:
    """One request, and the socket to answer on."""

    path: str
    host: str
    headers: dict[str, str]
    socket: socket.socket
    web: "Web"
    began: float
    ended: float = 0.0
    connection: int = 0

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def drip(self, data: bytes, every: float) -> None:
        """Send so many bytes again and again until the other side or the test has enough."""
        while not self.web.stopped.wait(every):
            self.send(data)

    def silence(self) -> None:
        """Say nothing until the other side has gone away."""
        self.socket.settimeout(0.05)
        while not self.web.stopped.is_set():
            with contextlib.suppress(TimeoutError):
                if not self.socket.recv(1):
                    return


def answer(
    body: bytes = b"", status: int = 200, headers: tuple[str, ...] = (), *, after: float = 0.0
) -> Answer:
    """Return an answer of one piece, with its Content-Length."""
    lines = [f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body)}", "", ""]
    data = "\r\n".join(lines).encode("latin-1") + body

    def send(exchange: Exchange) -> None:
        if after:
            exchange.web.stopped.wait(after)
        exchange.send(data)

    return send


def raw(data: bytes, *, close: bool = True) -> Answer:
    """Return an answer of these very bytes; the connection is closed after them."""

    def send(exchange: Exchange) -> None:
        exchange.send(data)
        if close:
            exchange.socket.shutdown(socket.SHUT_RDWR)

    return send


@dataclasses.dataclass
class Web:
    """Answers by path; any host may be asked for."""

    answers: dict[str, Answer] = dataclasses.field(default_factory=dict)
    """By path, or by `host/path` before that."""
    log: list[Exchange] = dataclasses.field(default_factory=list)
    default: Answer = dataclasses.field(default_factory=lambda: answer(b"", 404))
    context: ssl.SSLContext | None = None
    address: str = "127.0.0.1"
    connections: int = 0
    """How many were ever taken, of those that sent nothing, too."""
    stopped: threading.Event = dataclasses.field(default_factory=threading.Event)
    port: int = 0

    @property
    def paths(self) -> list[str]:
        return [exchange.path for exchange in self.log]

    def url(self, path: str) -> str:
        scheme = "https" if self.context else "http"
        return f"{scheme}://{self.address}:{self.port}{path}"

    def serve(self, listener: socket.socket) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                self.connections += 1
                threading.Thread(
                    target=self._talk, args=(connection, self.connections), daemon=True
                ).start()

    def _talk(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            connection.settimeout(KEEP_SECONDS)
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
                stack.callback(connection.close)
            reader = connection.makefile("rb")
            while (line := reader.readline(65_536)) and not self.stopped.is_set():
                headers = {}
                while (field := reader.readline(65_536).strip()) != b"":
                    name, _, value = field.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                path = line.split()[1].decode("latin-1")
                host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
                exchange = Exchange(path, host, headers, connection, self, time.monotonic())
                exchange.connection = number
                self.log.append(exchange)
                found = self.answers.get(f"{host}{path}") or self.answers.get(path)
                try:
                    (found or self.default)(exchange)
                finally:
                    exchange.ended = time.monotonic()


@contextlib.contextmanager
def serving(
    web: Web | None = None, address: str = "127.0.0.1", backlog: int = 512
) -> Iterator[Web]:
    """Run a web on a free port until the block ends."""
    web = web or Web()
    web.address = address
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family, backlog=backlog) as listener:
        listener.settimeout(0.1)
        web.port = listener.getsockname()[1]
        thread = threading.Thread(target=web.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield web
        finally:
            web.stopped.set()
            thread.join()


def certificate(
    folder: pathlib.Path, name: str = "127.0.0.1", days: int = 30
) -> tuple[ssl.SSLContext, pathlib.Path]:
    """Return a server's context with a self-signed certificate, and the certificate's file.

    Args:
        folder: where files go.
        name: the address it is for.
        days: from now to its end; it may have ended.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = folder / f"{name}-{days}.pem"
    pem.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context, pem
