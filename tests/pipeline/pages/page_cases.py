"""Pages as text to what comes of them; shared by tests of candidates."""

import dataclasses
import json
from typing import Any

from pipeline.pages.candidates import CandidateBatch, ElementDrops
from pipeline.pages.columns import CandidateColumns, PageValues
from pipeline.pages.html import parse_page
from pipeline.pages.image_elements import CandidateRules
from pipeline.pages.page import PageLimits
from pipeline.pages.texts import SOURCES

PAGE_URL = "https://p.example/d/page.html"
FOLDER = "https://p.example/d/"
ALT_ONLY = CandidateRules(
    text_sources=("alt",), url_rule="best", max_srcset_width=2048, max_images=1_000
)
ALL_TEXTS = dataclasses.replace(ALT_ONLY, text_sources=SOURCES)
AS_WAT = dataclasses.replace(ALT_ONLY, url_rule="src")


@dataclasses.dataclass
class Found:
    """What came of a page."""

    rows: list[dict[str, Any]]
    counts: dict[str, int]
    ledger: list[dict[str, Any]]
    seen: int

    @property
    def pairs(self) -> list[tuple[str, str, str]]:
        """(URL, source of the URL, "source:text" of all texts) of each row."""
        return [
            (
                row["url"].removeprefix(FOLDER),
                row["url_source"],
                " | ".join(f"{text['source']}:{text['text']}" for text in row["texts"]),
            )
            for row in self.rows
        ]

    @property
    def reasons(self) -> list[str]:
        """Of all dropped elements, sorted."""
        ledger = [row["reason"] for row in self.ledger]
        return sorted([*ledger, *(name for name in self.counts for _ in range(self.counts[name]))])


def find_in(
    body: str | bytes, rules: CandidateRules = ALT_ONLY, flags: tuple[str, ...] = ()
) -> Found:
    data = body if isinstance(body, bytes) else body.encode()
    limits = PageLimits(max_tags=200_000, max_images=rules.max_images)
    page = parse_page(data, "utf-8", limits, rules.text_sources)
    assert page is not None
    columns, drops = CandidateColumns(), ElementDrops()
    values = PageValues(
        page_url=PAGE_URL,
        page_lang=None,
        charset="UTF-8",
        license_url=None,
        license_source=None,
        optout=(),
        page_tdm=None,
        source_file="x.warc.gz",
        source_offset=0,
        source_length=1,
        record_id=None,
        record_date=None,
    )
    batch = CandidateBatch(rules, columns, drops)
    seen = batch.add_page(page, values, flags)
    batch.judge()
    rows = columns.to_batch().to_pylist()
    assert seen == len(rows) + drops.counts.total() + len(drops.rows)
    counts = {str(reason): count for reason, count in drops.counts.items()}
    return Found(rows, counts, drops.rows, seen)


def json_ld(**values: object) -> str:
    return (
        f"<script type=application/ld+json>{json.dumps({'@type': 'ImageObject'} | values)}</script>"
    )
