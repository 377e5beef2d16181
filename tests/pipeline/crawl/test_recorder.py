import hashlib
import io

from warcio.archiveiterator import ArchiveIterator

from pipeline.crawl.recorder import Recorder
from pipeline.readers.framing import Limits, Record
from pipeline.readers.warc import parse_message, read_records
from pipeline.visit.fetcher import Request, Result

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"5\r\nhello\r\n0\r\n\r\n"
STARTED = 1_767_323_045_000_006
REQUEST = Request(key=0, url="http://example.com/", kind="page", total_seconds=1.0, max_bytes=1000)
RESULT = Result(
    request=REQUEST, drop=None, status=200, head=HEAD, body=BODY, ip="93.184.215.14",
    started_us=STARTED, seconds=0.1,
)  # fmt: skip


def test_the_golden_record() -> None:
    record = Recorder("0003-0", gzip=False).response(RESULT)
    assert b"<urn:uuid:757cec14-d4aa-5d2f-a155-4a644bf4e7e3>" in record
    assert b"WARC-Date: 2026-01-02T03:04:05.000006Z\r\n" in record
    assert b"WARC-Payload-Digest: sha1:FPKJFAEPEIMEFSS2G2SDNSN5YKX3N5JX\r\n" in record
    assert len(record) == 487
    assert hashlib.sha256(record).hexdigest() == (
        "29ce0fe18d5062a79c5691d4120e41f51b82ceb2eaba585b6097e7c1bf599bbe"
    )


def made() -> bytes:
    recorder = Recorder("0003-0")
    info = recorder.warcinfo({"software": "openwit"}, STARTED)
    sent = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
    return info + recorder.exchange(RESULT, sent, {"depth": "1"}, keeps_body=True)


def test_warcio_reads_what_is_written_and_its_digests_hold() -> None:
    kinds = []
    for record in ArchiveIterator(io.BytesIO(made()), check_digests="raise"):
        kinds.append(record.rec_type)
        content = record.content_stream().read()
        if record.rec_type == "response":
            assert content == b"hello"
    assert kinds == ["warcinfo", "response", "request", "metadata"]


def test_our_reader_reads_the_same_body() -> None:
    limits = Limits(record_bytes=1 << 20, header_bytes=1 << 16)
    records = list(read_records(io.BytesIO(made()), limits))
    response = next(
        each for each in records if isinstance(each, Record) and each.kind == "response"
    )
    message = parse_message(response, 1 << 16)
    assert bytes(message.decoded(100).data) == b"hello"  # type: ignore[union-attr]


def test_an_answer_that_may_not_be_kept_leaves_no_response() -> None:
    data = Recorder("x").exchange(RESULT, b"GET", {}, keeps_body=False)
    kinds = [record.rec_type for record in ArchiveIterator(io.BytesIO(data))]
    assert kinds == ["request", "metadata"]
