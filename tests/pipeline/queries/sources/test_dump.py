import bz2
import collections
import gzip
import pathlib
from collections.abc import Callable, Sequence

import pytest

from manifests.base.errors import OpenwitError, RefusedError
from pipeline.queries.sources.dump import MAX_TEXT_BYTES, Dump, Page
from pipeline.queries.sources.inflate import TruncatedError

MakeDump = Callable[[Sequence[str]], str]
MakePage = Callable[..., str]


def _read(tmp_path: pathlib.Path, data: bytes, *, allow_truncated: bool = False) -> list[Page]:
    path = tmp_path / "dump"
    path.write_bytes(data)
    return list(Dump(str(path), (0,), allow_truncated=allow_truncated))


@pytest.fixture
def xml(make_dump: MakeDump, make_page: MakePage) -> str:
    return make_dump(
        [
            make_page("Dog", "A dög is an animal."),
            make_page("Talk:Dog", "Talk", ns=1),
            make_page("Hound", "#REDIRECT [[Dog]]", redirect="Dog"),
            make_page("Köter", " #WEITERLEITUNG: [[dog#Part|x]]"),
            make_page("Data", "{}", model="json"),
            make_page("Empty", "  "),
            make_page("2001: A Space Odyssey", "A film.", model="wikitext"),
            make_page("Huge", "ö" * (MAX_TEXT_BYTES // 2 + 1)),
        ]
    )


KINDS = [
    ("Dog", "kept"),
    ("Talk:Dog", "other_namespace"),
    ("Hound", "redirect"),
    ("Köter", "redirect"),
    ("Data", "not_wikitext"),
    ("Empty", "no_text"),
    ("2001: A Space Odyssey", "kept"),
    ("Huge", "too_big"),
]


def _cut_streams(data: bytes) -> bytes:
    return b"".join(
        bz2.compress(data[start : start + 999_999]) for start in range(0, len(data), 999_999)
    )


@pytest.mark.parametrize(
    "pack",
    [
        pytest.param(lambda text: text.encode(), id="plain"),
        pytest.param(lambda text: b"\xef\xbb\xbf" + text.encode(), id="byte order mark"),
        pytest.param(lambda text: gzip.compress(text.encode()), id="gzip"),
        pytest.param(
            lambda text: gzip.compress(text[:500].encode()) + gzip.compress(text[500:].encode()),
            id="gzip members",
        ),
        pytest.param(lambda text: bz2.compress(text.encode()), id="bzip2"),
        pytest.param(lambda text: _cut_streams(text.encode()), id="multistream"),
        pytest.param(lambda text: text.encode("utf-16"), id="UTF-16"),
        pytest.param(
            lambda text: ('<?xml version="1.0" encoding="ISO-8859-1"?>' + text).encode("latin-1"),
            id="declared Latin-1",
        ),
    ],
)
def test_pages_are_the_same_in_every_container_and_encoding(
    tmp_path: pathlib.Path, xml: str, pack: Callable[[str], bytes]
) -> None:
    pages = _read(tmp_path, pack(xml))
    assert [(page.title, page.kind) for page in pages] == KINDS
    assert pages[0].text == "A dög is an animal."


def test_a_redirect_has_the_target_of_its_element_or_of_its_link(
    tmp_path: pathlib.Path, xml: str
) -> None:
    pages = {page.title: page for page in _read(tmp_path, xml.encode())}
    assert pages["Hound"].target == "Dog"
    assert pages["Köter"].target == "dog"


def test_the_last_revision_counts(
    tmp_path: pathlib.Path, make_dump: MakeDump, make_page: MakePage
) -> None:
    page = make_page("Dog", "old", model="json")
    page = page.replace("</page>", "<revision><text>new</text></revision></page>")
    assert _read(tmp_path, make_dump([page]).encode()) == [Page("Dog", "kept", "new")]


def test_text_of_another_slot_is_not_the_page(
    tmp_path: pathlib.Path, make_dump: MakeDump, make_page: MakePage
) -> None:
    slot = "<content><model>json</model><text>{}</text></content></revision>"
    page = make_page("Dog", "text", model="wikitext").replace("</revision>", slot)
    assert _read(tmp_path, make_dump([page]).encode()) == [Page("Dog", "kept", "text")]


def test_prefixes_do_not_matter(tmp_path: pathlib.Path) -> None:
    page = "<m:page><m:title>A</m:title><m:ns>0</m:ns><m:revision><m:text>b</m:text>"
    data = f'<m:mediawiki xmlns:m="x">{page}</m:revision></m:page></m:mediawiki>'
    assert _read(tmp_path, data.encode()) == [Page("A", "kept", "b")]


def test_local_names_of_files_and_categories_are_found(tmp_path: pathlib.Path, xml: str) -> None:
    path = tmp_path / "dump.xml"
    path.write_text(xml, encoding="utf-8")
    dump = Dump(str(path), (0,))
    assert len(list(dump)) == len(KINDS)
    assert dump.media_names == {"datei", "kategorie"}


def test_a_doctype_is_refused(tmp_path: pathlib.Path) -> None:
    data = b'<!DOCTYPE a [<!ENTITY b "c">]><mediawiki>&b;</mediawiki>'
    with pytest.raises(RefusedError, match="DOCTYPE"):
        _read(tmp_path, data)


def test_an_unknown_container_is_refused_with_the_three_known(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RefusedError, match="plain XML, gzip or bzip2"):
        _read(tmp_path, b"7z\xbc\xaf\x27\x1c")


def test_xml_that_is_not_well_formed_is_an_error_with_its_byte(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OpenwitError, match="XML byte 16: mismatched tag"):
        _read(tmp_path, b"<mediawiki><a></b></mediawiki>")


def test_damaged_compressed_data_is_an_error(tmp_path: pathlib.Path, xml: str) -> None:
    data = bytearray(bz2.compress(xml.encode()))
    data[60] ^= 255
    with pytest.raises(OpenwitError, match="damaged"):
        _read(tmp_path, bytes(data))


def test_bytes_after_the_last_stream_are_an_error(tmp_path: pathlib.Path, xml: str) -> None:
    with pytest.raises(OpenwitError, match="damaged"):
        _read(tmp_path, bz2.compress(xml.encode()) + b"rubbish")


@pytest.mark.parametrize("pack", [bytes, bz2.compress, gzip.compress])
def test_a_truncated_dump_is_an_error_unless_allowed(
    tmp_path: pathlib.Path, xml: str, pack: Callable[[bytes], bytes]
) -> None:
    if pack is bytes:
        data = xml.encode()[: xml.index("Data")]
    else:
        data = pack(xml.encode()[: xml.index("Huge")])[:-9]
    with pytest.raises(TruncatedError, match=r"allow_truncated"):
        _read(tmp_path, data)
    assert _read(tmp_path, data, allow_truncated=True)[-1].kind == "truncated"


def test_a_missing_file_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RefusedError, match="no such file"):
        list(Dump(str(tmp_path / "none"), (0,)))


@pytest.mark.peer
def test_a_real_dump_has_its_known_pages(real_dump: str) -> None:
    kinds = collections.Counter(page.kind for page in Dump(real_dump, (0,)))
    assert kinds == {"kept": 106, "redirect": 99, "other_namespace": 1}
    redirects = sum(page.kind == "redirect" for page in Dump(real_dump, tuple(range(16))))
    assert redirects == 100
