"""Bodies from their hosts, asked by us: the engine "pycurl"."""

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

from filters.consent.decision import ConsentSettings
from filters.urls.domain import site_of
from filters.verdict import Drop, DropReason
from pipeline.fetch.asking.store import Store
from pipeline.readers.body import decode_body
from pipeline.readers.reasons import Fault
from pipeline.visit.client import Client
from pipeline.visit.fetcher import Fetcher, Result
from pipeline.visit.origins import Origins
from pipeline.visit.settings import VisitSettings
from pipeline.visit.visitor import Task, Visit, Visitor, image_judge

HEADER_CHARACTERS = 256
"""Of a header's value that is kept."""


def ask_hosts(
    tasks: Sequence[Task],
    store: Store,
    consent: ConsentSettings,
    stays: Callable[[str, str], bool],
) -> None:
    """Visit all tasks and keep what comes of them.

    Args:
        tasks: numbered from 0.
        store: takes the outcomes.
        consent: which opt-outs are obeyed.
        stays: whether a redirect from one URL to another may be followed here.
    """
    settings, before = store.settings, store.journal.facts
    urls = [task.url for task in tasks]
    with contextlib.closing(open_fetcher(settings)) as fetcher:
        visitor = Visitor(
            fetcher=fetcher,
            clock=time.monotonic,
            settings=settings,
            origins=origins_of(consent),
            max_bytes=settings.max_bytes,
            stays=stays,
            judges={"image": image_judge(consent)},
        )
        for visit in visitor.run(tasks):
            store.take(visit_columns(urls[visit.task.key], visit), _body(visit, settings.max_bytes))
            if store.is_due:
                store.save(merge_hosts([before, visitor.host_rows(site_of)]))
        store.save(merge_hosts([before, visitor.host_rows(site_of)]))


def open_fetcher(settings: VisitSettings) -> Fetcher:
    """Return what asks the web."""
    return Client(settings)


@functools.lru_cache(maxsize=1)
def origins_of(consent: ConsentSettings) -> Origins:
    """Return the consent files that this process has read: they hold over buckets and rounds."""
    return Origins(consent)


def visit_columns(url: str, visit: Visit) -> dict[str, Any]:
    """Return what is known of a visit, by columns of `OUTCOMES`."""
    row = {
        "url": url,
        "image_source": "web",
        "attempts": visit.task.attempts,
        "redirects": visit.task.redirects + len(visit.task.seen),
        "final_url": visit.task.url,
    }
    return row | (_answer_columns(visit.result) if visit.result is not None else {})


def body_of(result: Result, max_bytes: int) -> bytes | Drop:
    """Return an answer's body free of its codings, or why there is none."""
    body = decode_body(result.body, (), result.headers.all("content-encoding"), max_bytes)
    if isinstance(body, Fault):
        return Drop(DropReason.BODY_ENCODING)
    if body.is_cut:
        is_large = len(body.data) >= max_bytes
        return Drop(DropReason.TOO_LARGE if is_large else DropReason.BODY_ENCODING)
    whole = body.data.obj
    if isinstance(whole, bytes) and len(whole) == len(body.data):  # a copy would take as much again
        return whole or Drop(DropReason.EMPTY_BODY)
    return bytes(body.data) or Drop(DropReason.EMPTY_BODY)


def merge_hosts(saved: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return one row per origin: counts added up, what was last known of its consent files."""
    merged: dict[str, dict[str, Any]] = {}
    for rows in saved:
        for row in rows:
            old = merged.get(row["origin"])
            counts = {
                name: row[name] + (old[name] if old else 0) for name in ("requests", "ok", "bytes")
            }
            merged[row["origin"]] = {**row, **counts}
    return [merged[origin] for origin in sorted(merged)]


def _body(visit: Visit, max_bytes: int) -> bytes | Drop:
    if visit.drop is not None:
        return visit.drop
    if visit.result is None:
        raise ValueError(f"a visit without drop has an answer: {visit.task.url}")
    return body_of(visit.result, max_bytes)


def _answer_columns(result: Result) -> dict[str, Any]:
    headers = result.headers
    fields = {
        name.replace("-", "_"): headers.get(name)
        for name in ("content-type", "etag", "last-modified")
    }
    return {
        "fetched_at": result.started_us,
        "http_status": result.status or None,
        "ip": result.ip or None,
        **{name: value and value[:HEADER_CHARACTERS] for name, value in fields.items()},
    }
