"""What pages of the documentation show, and following them: files are written, commands are run."""

import contextlib
import io
import os
import pathlib
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import manifests.cli
import pipeline.cli
import trainer.cli

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w./-]+\.\w+)(, added)?\n")
"""The first line of a block that is a file, or an addition to one."""
EXIT_CODE = re.compile(r"# exit code (\d+)$")
SHELL = {"|", "||", "&&", ";", ">", ">>", "("}
MAINS = {
    "openwit-pipeline": pipeline.cli.main,
    "openwit-manifest": manifests.cli.main,
    "openwit-train": trainer.cli.main,
}
NOT_RUN = {
    "make ": "works on the checkout itself; CI runs it",
    "pip install": "asks a package registry",
    "wget ": "asks the web",
    "openwit-pipeline crawl": "asks the web; tests/pipeline/visit crawls sites on loopback",
    "inputs commoncrawl": "asks Common Crawl; tests/pipeline/readers answer for it",
    "commoncrawl.t": "reads what `inputs commoncrawl` lists",
    "engine.mode=": "needs a worker pool; tests/test_everywhere.py starts one",
    "worker_pool_main": "does not end by itself; as above",
    "local_job_service_main": "does not end by itself; as above",
    "AWS_ENDPOINT_URL=": "names no store; tests/test_s3.py starts one",
    "s3://": "as above",
    "--runner=": "needs a job service, a cluster or the cloud; as above",
    "torchrun": "starts 8 processes; tests/trainer/training/test_ranks.py starts fewer",
    "list.parquet": "needs an extract of Wikipedia that is not ours to ship",
}
"""Commands that the tests do not run, by a part of their line, and why; ours are parsed still."""


def blocks(page: pathlib.Path) -> list[tuple[str, str]]:
    """Return (language, text) of the code blocks of a page."""
    return FENCE.findall(page.read_text("utf-8"))


def shell_lines(text: str) -> list[str]:
    """Return the commands of a block, those that go over several lines made one."""
    lines = text.replace("\\\n", " ").splitlines()
    prompted = [line[2:] for line in lines if line.startswith("$ ")]
    return prompted or [line for line in lines if line and not line.startswith("#")]


def our_lines(page: pathlib.Path, languages: Sequence[str] = ("", "sh")) -> Iterator[str]:
    """Yield the commands of a page that are ours, in blocks of some languages."""
    for language, text in blocks(page):
        if language in languages:
            yield from (line for line in shell_lines(text) if line.startswith("openwit-"))


def why_not_run(line: str) -> str | None:
    """Return why a command is not run, or None."""
    return next((why for part, why in NOT_RUN.items() if part in line), None)


def is_followed(page: pathlib.Path) -> bool:
    """Tell whether a page has something that is run."""
    return any(
        language == "python" or (language == "sh" and not all(map(why_not_run, shell_lines(text))))
        for language, text in blocks(page)
    )


def follow(page: pathlib.Path, folder: pathlib.Path, changes: Mapping[str, str] = {}) -> None:
    """Write a page's files and run its commands and Python, in their order, in a folder.

    Blocks in `text` behind a command show what it prints: each of their lines must be in it.

    Args:
        page: the page.
        folder: where its paths begin.
        changes: texts of its blocks, and what stands there instead.
    """
    unused, printed = set(changes), ""
    with contextlib.chdir(folder):
        for language, text in blocks(page):
            for old in changes:
                unused -= {old} if old in text else set()
                text = text.replace(old, changes[old])
            if named := FILE.match(text):
                _write(pathlib.Path(named[1]), language, text, is_added=bool(named[2]))
            elif language == "python":
                with _quiet():
                    exec(compile(text, page.name, "exec"), {})  # noqa: S102 (our own page)
            elif language == "sh":
                printed = "".join(run(line) for line in shell_lines(text) if not why_not_run(line))
            elif language == "text" and printed:
                missing = set(_words(text)) - set(_words(printed)) - {("...",)}
                assert not missing, printed
                printed = ""
    assert not unused


def _words(text: str) -> Iterator[tuple[str, ...]]:
    yield from (tuple(line.split()) for line in text.splitlines() if line.strip())


def _write(path: pathlib.Path, language: str, text: str, *, is_added: bool) -> None:
    if language == "diff":
        before = path.read_text("utf-8")
        lines = text.splitlines()[1:]
        for hunk in "\n".join(lines).split("\n...\n"):
            old = "\n".join(line[1:] for line in hunk.split("\n") if not line.startswith("+"))
            new = "\n".join(line[1:] for line in hunk.split("\n") if not line.startswith("-"))
            assert before.count(f"{old}\n") == 1, f"{path}: {old}"
            before = before.replace(f"{old}\n", f"{new}\n")
        text = before
    elif is_added:
        text = path.read_text("utf-8") + text
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def run(line: str) -> str:
    """Run a command, ours in this process; return what it printed.

    The line may end in `# exit code N`; else the code must be 0.
    """
    expected = int(found[1]) if (found := EXIT_CODE.search(line)) else 0
    words = shlex.split(line, comments=True)
    ours = words[0] in MAINS and not SHELL & set(words)
    code, printed = _run_ours(words) if ours else _run_shell(line)
    assert code == expected, f"{line}\n{printed}"
    return printed


def _run_ours(words: Sequence[str]) -> tuple[Any, str]:
    printed = io.StringIO()
    with _quiet(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            MAINS[words[0]](words[1:])
        except SystemExit as end:
            return end.code, printed.getvalue()
    return None, printed.getvalue()


def _run_shell(line: str) -> tuple[int, str]:
    binaries = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(  # noqa: S603 (words of our own pages)
        ["bash", "-euo", "pipefail", "-c", line],  # noqa: S607
        env=os.environ | {"PATH": binaries, "PYTHONPATH": "."},  # a copy of the source comes first
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let libraries warn, as they would outside of pytest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
