"""One round's visits: each URL of a site's turn, answers recorded, what they lead to passed on."""

import collections
import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filters.urls.domain import site_of
from filters.urls.url_key import url_host
from filters.verdict import Drop, DropReason
from manifests.base.version import __version__
from pipeline.crawl.frontier import FRONTIER, VISITED, url_buckets
from pipeline.crawl.pages import Found, PageReader
from pipeline.crawl.recorder import Recorder
from pipeline.engine.parts import Sink, read_batches
from pipeline.engine.steps import Packet
from pipeline.engine.units import Unit
from pipeline.fetch.asking.hosts import merge_hosts, origins_of
from pipeline.fetch.journal import Journal
from pipeline.fetch.outcomes import HOSTS
from pipeline.readers.headers import Headers
from pipeline.visit.client import Client, request_block, user_agent
from pipeline.visit.consent_files import ConsentTask
from pipeline.visit.fetcher import Fetcher, Result
from pipeline.visit.settings import VisitSettings
from pipeline.visit.visitor import Task, Visit, Visitor, image_judge

SEGMENT_BYTES = 1 << 30
"""Of one WARC file."""
SAME_BODIES = 3
"""Pages of a site with one body, from which on their links are not followed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisitKernel:
    """Visits a bucket of the frontier."""

    buckets: int
    reader: PageReader
    settings: VisitSettings
    segment_s: float
    prio_limit: bytes | None
    """Pages from this priority on are over the budget of all; None if there is none."""
    round: int

    def emit(self, unit: Unit) -> Iterable[Packet]:
        """Yield the frontier by site."""
        for source in unit.sources:
            for batch in read_batches(source.path):
                if batch.num_rows:
                    buckets = url_buckets(batch["url"].to_pylist(), self.buckets)
                    yield Packet("url", buckets, batch.cast(FRONTIER))

    def reduce(self, bucket: int, tables: Mapping[str, pa.Table], sink: Sink) -> None:
        """Visit and record what is not recorded yet."""
        table = tables["url"].combine_chunks()
        sink.rows_in(table.num_rows)
        rows = [row for row in table.to_pylist() if not self._is_over(row)]
        if len(rows) < table.num_rows:
            sink.count_drop(DropReason.BUDGET_TOTAL.value, table.num_rows - len(rows))
        with contextlib.ExitStack() as stack:
            journal = Journal(sink, VISITED, stack, role="warc")
            visits = _Visits(self, journal, sink)
            visits.run(rows)
        visited = pa.concat_tables([VISITED.empty_table(), *journal.saved])
        ordered = visited.take(pc.sort_indices(visited, [("url", "ascending")]))
        for batch in ordered.to_batches():
            sink.write(batch)
        sink.write(pa.RecordBatch.from_pylist(journal.facts, schema=HOSTS), "hosts")

    def _is_over(self, row: Mapping[str, Any]) -> bool:
        is_page = row["kind"] == "page"
        return is_page and self.prio_limit is not None and row["prio"] >= self.prio_limit


class _Visits:
    """The visits of one bucket."""

    def __init__(self, kernel: VisitKernel, journal: Journal, sink: Sink) -> None:
        self._kernel = kernel
        self._journal = journal
        self._sink = sink
        self._rows: list[dict[str, Any]] = []
        self._recorder: Recorder | None = None
        self._places: dict[int, tuple[int, int]] = {}
        """By task: offset and length of its last exchange."""
        self._found: dict[int, Found] = {}
        self._bodies: collections.Counter[tuple[str, bytes]] = collections.Counter()
        self._saved_at = time.monotonic()

    def run(self, rows: list[dict[str, Any]]) -> None:
        """Visit all rows whose URL is not in a saved segment."""
        done = {url for table in self._journal.saved for url in table["url"].to_pylist()}
        self._rows = [row for row in rows if row["url"] not in done]
        if not self._rows:
            return
        before, kernel = self._journal.facts, self._kernel
        with contextlib.closing(open_fetcher(kernel.settings)) as fetcher:
            visitor = Visitor(
                fetcher=fetcher,
                clock=time.monotonic,
                settings=kernel.settings,
                origins=origins_of(kernel.reader.consent),
                max_bytes=kernel.reader.settings.max_page_bytes,
                stays=lambda here, there: site_of(url_host(here)) == site_of(url_host(there)),
                judges={"image": image_judge(kernel.reader.consent), "page": kernel.reader.judge},
                on_exchange=self._record,
            )
            tasks = [
                Task(number, row["url"], row["prio"], row["kind"])
                for number, row in enumerate(self._rows)
            ]
            for visit in visitor.run(tasks):
                self._end(visit)
                is_late = time.monotonic() - self._saved_at >= kernel.segment_s
                if is_late or self._journal.open_bytes >= SEGMENT_BYTES:
                    self._save(before, visitor)
            self._save(before, visitor)

    def _save(self, before: list[dict[str, Any]], visitor: Visitor) -> None:
        self._journal.save(merge_hosts([before, visitor.host_rows(site_of)]))
        self._recorder = None
        self._places.clear()
        self._saved_at = time.monotonic()

    def _record(self, task: Task | ConsentTask, result: Result) -> None:
        """Write an exchange to the open WARC; of a page, see first whether it may be kept."""
        found = Found()
        keeps = result.drop is None or bool(result.truncated)
        if isinstance(task, Task):
            keeps = keeps and not self._kernel.reader.header_mark(result.headers)
            if keeps and task.kind == "page" and result.status == 200:
                found = self._kernel.reader.read(result)
                keeps = not found.mark
            self._found[task.key] = found
        if not result.head and result.drop is not None and not result.ip:
            return  # nothing was asked
        data = self._recorded().exchange(
            result,
            request_block(result.request, self._kernel.settings),
            self._fields(task, result, found),
            keeps_body=keeps,
        )
        offset = self._journal.append(data)
        if isinstance(task, Task):
            self._places[task.key] = (offset, len(data))

    def _recorded(self) -> Recorder:
        """Return the recorder of the open WARC, which begins with its warcinfo."""
        if self._recorder is None:
            unit, number = self._sink.unit.id, len(self._journal.saved)
            self._recorder = Recorder(f"{unit}-{number}")
            settings = self._kernel.settings
            fields = {
                "software": f"openwit/{__version__}",
                "conformsTo": "http://iipc.github.io/warc-specifications/specifications/"
                "warc-format/warc-1.1/",
                "operator": settings.contact,
                "http-header-user-agent": user_agent(settings.contact),
                "robots": "obey",
                "spec": self._sink.folder.rpartition("-")[2],
                "round": str(self._kernel.round),
            }
            self._journal.append(self._recorder.warcinfo(fields, time.time_ns() // 1000))
        return self._recorder

    def _fields(self, task: Task | ConsentTask, result: Result, found: Found) -> dict[str, str]:
        fields = {"kind": result.request.kind, "ms": str(round(result.seconds * 1000))}
        if isinstance(task, Task):
            row = self._rows[task.key]
            fields |= {"depth": str(row["depth"]), "hop": str(len(task.seen))}
            fields |= {"via": row["page"]} if row["page"] else {}
        else:
            fields["hop"] = str(len(task.seen))
        if result.drop is not None:
            fields["outcome"] = result.drop.reason.value
        mark = found.mark or (result.drop.value if result.drop else None)
        return fields | ({"value": str(mark)} if mark is not None and mark != "" else {})

    def _end(self, visit: Visit) -> None:
        """Journal how a URL ended."""
        row, result = self._rows[visit.task.key], visit.result
        found = self._found.pop(visit.task.key, Found())
        drop = visit.drop
        if drop is None and found.mark:
            drop = Drop(DropReason.OPTOUT_PAGE, found.mark)
        links = list(found.links)
        if drop is not None and drop.reason is DropReason.REDIRECT_SITE:
            links = [str(drop.value)] if self._kernel.reader.scope.covers(str(drop.value)) else []
        elif links and result is not None and self._is_same_again(visit.task.url, result):
            self._sink.count_drop(DropReason.TRAP_SAME_BODY.value, len(links))
            links = []
        if found.images_over:
            self._sink.count_drop(DropReason.BUDGET_PAGE.value, found.images_over)
        offset, length = self._places.pop(visit.task.key, (None, None))
        headers = result.headers if result is not None else Headers(b"")
        self._journal.add(
            {
                "url": row["url"],
                "final_url": visit.task.url,
                "kind": row["kind"],
                "depth": row["depth"],
                "status": (result.status or None) if result is not None else None,
                "content_type": (headers.get("content-type") or "")[:256] or None,
                "offset": offset,
                "length": length,
                "started": result.started_us if result is not None else None,
                "outcome": drop.reason.value if drop else None,
                "value": str(drop.value) if drop and drop.value is not None else None,
                "links": links,
                "images": list(found.images),
            }
        )

    def _is_same_again(self, url: str, result: Result) -> bool:
        """Tell whether a site has shown a body too often."""
        key = (site_of(url_host(url)), hashlib.sha256(result.body).digest()[:16])
        self._bodies[key] += 1
        return self._bodies[key] >= SAME_BODIES


def open_fetcher(settings: VisitSettings) -> Fetcher:
    """Return what asks the web, and keeps the framing of bodies for the record."""
    return Client(settings, keep_framing=True)
