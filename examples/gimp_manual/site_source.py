"""A real site to work on: the GIMP manual of Debian's `gimp-help-en`, recorded by our own crawl.

The site is served on 127.0.0.1 under the name `gimp-help.example`, so that its URLs, and with them
the names of all pairs, do not depend on a free port.
"""

import functools
import http.server
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "gimp-help.example"
PAGES = pathlib.Path("usr/share/gimp/2.0/help")
WORDNET = pathlib.Path("usr/share/wordnet")
CRAWL = f"""
root = "run"
[crawl]
seeds = ["http://{HOST}/en/index.html"]
scope = "prefix"
rounds = 9                 # all that is at most 8 links away
images = "site"
pages_per_site = 100000
images_per_page = 1000
per_shape = 100000
[queries]
file = "none"              # a crawl asks for none
[fetch]
contact = "https://{HOST}/"
connect_to = ["{HOST}:80:127.0.0.1:PORT"]
allow_networks = ["127.0.0.1/32"]
address_connections = 8
[[fetch.site]]
match = "{HOST}"
reason = "a copy of our own on this machine"
connections = 8
delay_s = 0.0
"""
OWN_ARCHIVES = (
    "to work on archives of your own, name them in a configuration and run: "
    "openwit-pipeline run CONFIG"
)


class SiteError(Exception):
    """The site could not be had; the message says what is missing and the way out."""


def cache_folder() -> pathlib.Path:
    """Return the folder that keeps downloaded packages and the recording between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "openwit" / "gimp-manual"


def unpack_package(name: str, cache: pathlib.Path) -> pathlib.Path:
    """Return the folder of an unpacked Debian package: downloaded once, never installed."""
    target = cache / name
    if target.is_dir():
        return target
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise SiteError(f"apt-get: not on this machine, so {name} cannot be had: {OWN_ARCHIVES}")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        _download(name, folder)
        (archive,) = pathlib.Path(folder).glob("*.deb")
        unpacked = pathlib.Path(folder) / "unpacked"
        subprocess.run(["dpkg-deb", "-x", str(archive), str(unpacked)], check=True, timeout=300)  # noqa: S603, S607
        unpacked.rename(target)
    return target


def record(cache: pathlib.Path) -> list[pathlib.Path]:
    """Return the site's WARC files; the first time its pages and images are crawled."""
    warcs = cache / "crawl"
    if not warcs.is_dir():
        pages = unpack_package("gimp-help-en", cache) / PAGES
        with serve(pages) as port, tempfile.TemporaryDirectory(dir=cache) as name:
            folder = pathlib.Path(name)
            config = folder / "crawl.toml"
            config.write_text(CRAWL.replace("PORT", str(port)), encoding="utf-8")
            program = pathlib.Path(sys.executable).parent / "openwit-pipeline"
            command = [str(program), "crawl", str(config)]
            done = subprocess.run(command, check=False)  # noqa: S603 (our own command)
            if done.returncode:
                raise SiteError(f"crawl of http://{HOST}/: exit code {done.returncode}")
            made = folder / "warc"
            made.mkdir()
            for path in (folder / "run").glob("stages/crawl-r*/part-*.warc.gz"):
                step = path.parent.name.rpartition("-")[0]
                path.rename(made / f"{step}-{path.name.rpartition('-')[2]}")
            made.rename(warcs)
    return sorted(warcs.glob("*.warc.gz"))


@contextmanager
def serve(folder: pathlib.Path) -> Iterator[int]:
    """Serve a folder on a free port of 127.0.0.1."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are used again

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing of each request."""


def _download(name: str, folder: str) -> None:
    command = ["apt-get", "download", "--quiet", "--quiet", name]
    if not _try(command, folder):
        _try(["apt-get", "update", "--quiet", "--quiet"], folder)
        if not _try(command, folder):
            raise SiteError(
                f"apt-get download {name}: failed: check the network and the list of package "
                f"sources; {OWN_ARCHIVES}"
            )


def _try(command: list[str], folder: str) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 (words of this file)
            command, cwd=folder, check=False, capture_output=True, timeout=300
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
