"""A real site to work on: the GIMP manual of Debian's `gimp-help-en`, recorded by wget.

The site is served by a small proxy on 127.0.0.1 under the name `gimp-help.example`, so that its
URLs, and with them the names of all pairs, do not depend on a free port.
"""

import functools
import http.server
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "gimp-help.example"
PAGES = pathlib.Path("usr/share/gimp/2.0/help")
WORDNET = pathlib.Path("usr/share/wordnet")
WARC_PART = "8M"
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
        _call(["dpkg-deb", "-x", str(archive), str(unpacked)])
        unpacked.rename(target)
    return target


def record(cache: pathlib.Path) -> list[pathlib.Path]:
    """Return the site's WARC files, recording pages and images with wget the first time."""
    warcs = cache / "warc"
    if warcs.is_dir():
        return sorted(warcs.glob("*.warc.gz"))
    pages = unpack_package("gimp-help-en", cache) / PAGES
    _need_wget()
    with serve(pages) as port, tempfile.TemporaryDirectory(dir=cache) as folder:
        made = pathlib.Path(folder) / "warc"
        made.mkdir()
        command = [
            *("wget", "--recursive", "--level=inf", "--page-requisites", "--no-parent", "--quiet"),
            *("--execute", "use_proxy=on", "--execute", f"http_proxy=http://127.0.0.1:{port}"),
            *(f"--warc-file={made}/gimp", f"--warc-max-size={WARC_PART}", "--no-config"),
            *(f"--directory-prefix={folder}/mirror", f"http://{HOST}/en/index.html"),
        ]
        code = subprocess.run(command, check=False, timeout=300).returncode  # noqa: S603 (own words)
        if code not in (0, 8):  # 8: some answer was an error, such as the robots.txt nobody wrote
            raise SiteError(f"wget: exit code {code} while recording http://{HOST}/: run it again")
        (made / "gimp-meta.warc.gz").unlink(missing_ok=True)  # wget's own log, no page
        made.rename(warcs)
    return sorted(warcs.glob("*.warc.gz"))


@contextmanager
def serve(folder: pathlib.Path) -> Iterator[int]:
    """Serve a folder on a free port of 127.0.0.1, as a site and as a proxy to it."""
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
    def translate_path(self, path: str) -> str:
        """Take the host off the absolute URLs that a proxy is asked for."""
        return super().translate_path(path.removeprefix(f"http://{HOST}"))

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


def _need_wget() -> None:
    if shutil.which("wget"):
        return
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not _try([*root, "apt-get", "install", "--yes", "--quiet", "--quiet", "wget"], "/"):
        raise SiteError("wget: not on this machine: install it with: apt-get install wget")


def _try(command: list[str], folder: str) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 (words of this file)
            command, cwd=folder, check=False, capture_output=True, timeout=300
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _call(command: list[str]) -> None:
    subprocess.run(command, check=True, timeout=300)  # noqa: S603 (words of this file)
