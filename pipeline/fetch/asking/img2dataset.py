"""Bodies by img2dataset: consent is asked for by us, before any URL is handed to it."""

import contextlib
import dataclasses
import time
from collections.abc import Sequence

from filters.consent.decision import ConsentSettings
from filters.urls.domain import site_of
from pipeline.fetch.asking.hosts import merge_hosts, open_fetcher, origins_of, visit_columns
from pipeline.fetch.asking.store import Store
from pipeline.fetch.img2dataset.downloader import BATCH_URLS, download
from pipeline.visit.fetcher import Fetcher, Request, Result
from pipeline.visit.visitor import Task, Visitor


def ask_img2dataset(tasks: Sequence[Task], store: Store, consent: ConsentSettings) -> None:
    """Hand what may be asked to img2dataset, and keep what comes of all tasks.

    Args:
        tasks: numbered from 0.
        store: takes the outcomes.
        consent: which opt-outs are obeyed; marks of images are those that img2dataset knows.
    """
    allowed = _allowed(tasks, store, consent)
    for start in range(0, len(allowed), BATCH_URLS):
        began_us = time.time_ns() // 1000
        batch = allowed[start : start + BATCH_URLS]
        for url, body in download(batch, store.settings):
            row = {"url": url, "image_source": "web", "attempts": 1, "redirects": 0}
            store.take({**row, "fetched_at": began_us}, body)
        store.save(store.journal.facts)


def _allowed(tasks: Sequence[Task], store: Store, consent: ConsentSettings) -> list[str]:
    """Ask for consent files alone; keep the refusals, and return the URLs that are left."""
    # Only consent files are asked, two requests a host: they need no rest between them.
    settings = dataclasses.replace(store.settings, delay_s=0.0, delay_factor=0.0)
    before, allowed = store.journal.facts, []
    with contextlib.closing(_ConsentOnly(open_fetcher(settings))) as fetcher:
        visitor = Visitor(
            fetcher=fetcher,
            clock=time.monotonic,
            settings=settings,
            origins=origins_of(consent),
            max_bytes=settings.max_bytes,
            stays=lambda here, there: True,
            judges={},
        )
        for visit in visitor.run(tasks):
            if visit.drop is None:
                allowed.append(visit.task.url)
            else:
                store.take(visit_columns(visit.task.url, visit), visit.drop)
        store.save(merge_hosts([before, visitor.host_rows(site_of)]))
    return allowed


class _ConsentOnly:
    """A `Fetcher` that says 200 of every image without asking for it."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._done: list[Result] = []

    @property
    def has_room(self) -> bool:
        return self._fetcher.has_room

    def submit(self, request: Request) -> None:
        if request.kind == "image":
            self._done.append(Result(request=request, drop=None, status=200))
        else:
            self._fetcher.submit(request)

    def results(self, wait_seconds: float) -> list[Result]:
        done, self._done = self._done, []
        return [*done, *self._fetcher.results(0.0 if done else wait_seconds)]

    def close(self) -> None:
        self._fetcher.close()
