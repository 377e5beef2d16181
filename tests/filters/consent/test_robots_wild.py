"""4,231 robots.txt files of real sites, as the source distribution of protego 0.7.0 holds them."""

import os
import pathlib
import re
import subprocess
import sys
import tarfile
import time

import pytest
from robots import RobotsParser

from filters.consent.robots import parse_robots

SDIST = "protego-0.7.0.tar.gz"
ORACLE_BYTES = 100_000
"""robotspy takes minutes for some larger files."""
PATHS = 40
"""Of each file, made of its own rules."""
_RULE = re.compile(rb"^\s*(?:dis)?allow\s*:\s*(/\S*)", re.IGNORECASE | re.MULTILINE)
_UNCLEAN = re.compile(r"[\[\]%#]|//")
# robotspy does not see an agent that begins with no letter, or is more than one word.
_MISREAD = re.compile(
    rb"^\s*user-agent[ \t]*:[ \t]*(?:[^A-Za-z_*\s-]|[^#\r\n]*\w[ \t]+\w)",
    re.IGNORECASE | re.MULTILINE,
)
REMARKS = {
    "www.apc.com": "robotspy reads an agent that is a URL as ours",
    "www.icims.com": "its last line is two in one, which robotspy takes apart",
    "www.uspto.gov": "it begins with an XML comment: what begins with < is no robots.txt",
}
"""Files of which we allow what robotspy forbids, that are not misread as above, and why."""


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = cache / "openwit" / "protego"
    if not (folder / SDIST).exists():
        words = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "protego==0.7.0"]
        command = [sys.executable, "-m", "pip", *words, "--dest", str(folder)]
        if subprocess.run(command, check=False, capture_output=True).returncode:  # noqa: S603
            pytest.skip(f"{SDIST} cannot be had from the package index")
    with tarfile.open(folder / SDIST) as tar:
        members = [each for each in tar if "/test_data/" in each.name and each.isfile()]
        opened = {each.name.rpartition("/")[2]: tar.extractfile(each) for each in members}
        return {name: file.read() for name, file in opened.items() if file}


def asked_paths(body: bytes) -> list[str]:
    """Return paths that the rules of a file may speak of, in a form all parsers read alike."""
    found = ["/", "/index.html", "/images/a.jpg?x=1"]
    for rule in _RULE.findall(body)[:PATHS]:
        path = rule.decode("latin-1").replace("*", "a").rstrip("$")
        if path.isascii() and len(path) < 1000 and not _UNCLEAN.search(path):
            found.append(path)
    return [path for path in dict.fromkeys(found) if path != "/robots.txt"]


@pytest.mark.slow
@pytest.mark.peer
def test_real_files_are_read_as_robotspy_reads_them(files: dict[str, bytes]) -> None:
    assert len(files) == 4_231
    allowed: set[str] = set()
    refused: set[str] = set()
    equal, worst = 0, 0.0
    for name, body in files.items():
        began = time.process_time()
        (ours,) = parse_robots(body)
        worst = max(worst, time.process_time() - began)
        if len(body) > ORACLE_BYTES:
            continue
        try:
            text = body.decode()
        except UnicodeDecodeError:
            text = body.decode("latin-1")
        oracle = RobotsParser.from_string(text)
        for path in asked_paths(body):
            is_allowed = not ours.refuses(path)
            if is_allowed == oracle.can_fetch("openwit", f"https://h{path}"):
                equal += 1
            else:
                (allowed if is_allowed else refused).add(name)
    sys.stdout.write(f"{equal:,} decisions are equal; slowest file {worst:.2f} s\n")
    sys.stdout.write(f"we allow more in {len(allowed)}: {', '.join(sorted(allowed))}\n")
    sys.stdout.write(f"we refuse more in {len(refused)}: {', '.join(sorted(refused))}\n")
    assert {name for name in allowed if not _MISREAD.search(files[name])} == {*REMARKS}
    assert equal > 75_000
    assert worst < 0.5
