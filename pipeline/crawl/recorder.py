"""The only module that knows warcio: exchanges to WARC/1.1 records, one gzip member each."""

import base64
import datetime
import hashlib
import io
import uuid
from collections.abc import Mapping, Sequence

from warcio.recordloader import ArcWarcRecord
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.visit.fetcher import Result

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "openwit:crawl")
_MESSAGE = "application/http; msgtype={}"
_FIELDS = "application/warc-fields"


class Recorder:
    """Makes the records of one WARC file, in order."""

    def __init__(self, name: str, *, gzip: bool = True) -> None:
        """Start without records.

        Args:
            name: of the unit and segment: record ids follow from it.
            gzip: whether each record is a gzip member.
        """
        self._name = name
        self._gzip = gzip
        self._sequence = 0

    def warcinfo(self, fields: Mapping[str, str], started_us: int) -> bytes:
        """Return the record that every file begins with."""
        block = _lines(fields)
        return self._record("warcinfo", "", started_us, block, _FIELDS)

    def exchange(
        self, result: Result, request_block: bytes, fields: Mapping[str, str], *, keeps_body: bool
    ) -> bytes:
        """Return response, request and metadata of one request; without an answer, the latter two.

        Args:
            result: what came back.
            request_block: what was sent.
            fields: what is known of the exchange besides.
            keeps_body: whether the answer may be kept; if not there is no response record.
        """
        url, started = result.request.url, result.started_us
        parts: list[bytes] = []
        more: list[tuple[str, str]] = []
        if result.head and keeps_body:
            response_id = self.next_id()
            parts.append(self.response(result))
            more = [("WARC-Concurrent-To", response_id)]
        kind = _MESSAGE.format("request")
        # Without a payload digest warcio adds one of the whole block, which it then finds wrong.
        parts.append(
            self._record("request", url, started, request_block, kind, payload=b"", more=more)
        )
        parts.append(self._record("metadata", url, started, _lines(fields), _FIELDS, more=more))
        return b"".join(parts)

    def response(self, result: Result) -> bytes:
        """Return a response record: head and body as received."""
        more = [("WARC-Truncated", result.truncated)] if result.truncated else []
        return self._record(
            "response",
            result.request.url,
            result.started_us,
            result.head + result.body,
            _MESSAGE.format("response"),
            ip=result.ip,
            payload=result.body,
            more=more,
        )

    def next_id(self) -> str:
        """Return the id of the record that is made next."""
        return f"<urn:uuid:{uuid.uuid5(_NAMESPACE, f'{self._name}:{self._sequence + 1}')}>"

    def _record(
        self,
        kind: str,
        url: str,
        started_us: int,
        block: bytes,
        content_type: str,
        *,
        ip: str = "",
        payload: bytes | None = None,
        more: Sequence[tuple[str, str]] = (),
    ) -> bytes:
        named = [
            ("WARC-Type", kind),
            ("WARC-Record-ID", self.next_id()),
            ("WARC-Target-URI", url),
            ("WARC-Date", _date(started_us)),
            ("WARC-IP-Address", ip),
            ("WARC-Payload-Digest", "" if payload is None else _sha1(payload)),
            ("WARC-Block-Digest", _sha1(block)),
            *more,
            ("Content-Type", content_type),
            ("Content-Length", str(len(block))),
        ]
        self._sequence += 1
        headers = StatusAndHeaders("", [item for item in named if item[1]], protocol="WARC/1.1")
        # With http_headers=None and all digests set, warcio writes the block as it is.
        record = ArcWarcRecord(
            "warc", kind, headers, io.BytesIO(block), None, content_type, len(block)
        )
        out = io.BytesIO()
        WARCWriter(out, gzip=self._gzip, warc_version="WARC/1.1").write_record(record)
        return out.getvalue()


def _date(started_us: int) -> str:
    moment = datetime.datetime.fromtimestamp(started_us // 1_000_000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{started_us % 1_000_000:06d}Z"


def _sha1(data: bytes) -> str:
    digest = hashlib.sha1(data, usedforsecurity=False).digest()
    return f"sha1:{base64.b32encode(digest).decode()}"


def _lines(fields: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()
