import gzip
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import BaseAdapter

from manifests.base.errors import OpenwitError, RefusedError
from pipeline.readers.commoncrawl import list_inputs

CRAWL = "CC-MAIN-2024-10"
PATHS = [f"crawl-data/{CRAWL}/segments/{n % 7}/warc/{n:05d}.warc.gz" for n in range(500)]
LISTING = gzip.compress("".join(f"{path}\n" for path in PATHS).encode())


class Answers(BaseAdapter):
    """Stands in for the web: one answer for each URL that is known."""

    def __init__(self, answers: dict[str, tuple[int, bytes] | Exception]) -> None:
        super().__init__()
        self.answers = answers

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        answer = self.answers.get(request.url or "", (404, b""))
        if isinstance(answer, Exception):
            raise answer
        response = requests.Response()
        response.status_code, response._content = answer
        response.url = request.url or ""
        return response

    def close(self) -> None:
        """Hold nothing."""


def listed(answer: tuple[int, bytes] | Exception = (200, LISTING), **more: Any) -> list[str]:
    url = f"https://cc.example/crawl-data/{CRAWL}/{more.get('kind', 'warc')}.paths.gz"
    session = requests.Session()
    session.mount("https://", Answers({url: answer}))
    settings = {"crawl_id": CRAWL, "kind": "warc", "base_url": "https://cc.example/", **more}
    return list_inputs(**settings, session=session)


def test_all_files_are_listed_in_order() -> None:
    assert listed() == [f"https://cc.example/{path}" for path in PATHS]
    assert listed((200, gzip.compress(b"b\n\n a \nb\n")), kind="wat") == [
        "https://cc.example/b",
        "https://cc.example/a",
    ]


@given(st.integers(1, len(PATHS)), st.integers(1, len(PATHS)), st.integers(0, 3))
def test_a_sample_has_no_file_twice_and_holds_every_smaller_one(
    one: int, other: int, seed: int
) -> None:
    small, large = sorted((one, other))
    few, many = listed(sample=small, seed=seed), listed(sample=large, seed=seed)
    assert (len(set(few)), len(set(many))) == (small, large)
    assert set(few) <= set(many)
    assert few == [url for url in listed() if url in set(few)]


def test_a_sample_depends_on_paths_and_seed_alone() -> None:
    backwards = gzip.compress("\n".join(PATHS[::-1]).encode())
    assert set(listed((200, backwards), sample=20)) == set(listed(sample=20))
    assert listed(sample=20, seed=1) != listed(sample=20)


@pytest.mark.parametrize("crawl_id", ["", "CC-MAIN-2024-1", "2024-10", "CC-MAIN-2024-10/../x"])
def test_a_crawl_id_that_is_none_is_refused(crawl_id: str) -> None:
    with pytest.raises(RefusedError, match="not of the form CC-MAIN-2024-10"):
        listed(crawl_id=crawl_id)


@pytest.mark.parametrize(
    ("sample", "message"), [(0, "must be at least 1"), (501, "lists 500 files: ask for fewer")]
)
def test_a_sample_of_a_size_that_cannot_be_is_refused(sample: int, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        listed(sample=sample)


@pytest.mark.parametrize("status", [403, 404])
def test_a_crawl_that_is_not_there_is_refused(status: int) -> None:
    with pytest.raises(RefusedError, match=rf"{status}: no such crawl"):
        listed((status, b""))


@pytest.mark.parametrize(
    "answer",
    [
        (500, b""),
        (200, b"<html>"),
        (200, LISTING[:-9]),
        (200, gzip.compress(b"\xff", mtime=0)),
        requests.ConnectionError("no route"),
    ],
)
def test_a_listing_that_cannot_be_had_or_read_is_an_error(answer: Any) -> None:
    with pytest.raises(OpenwitError, match="run the same command again"):
        listed(answer)
