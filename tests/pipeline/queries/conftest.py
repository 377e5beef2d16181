"""Small dumps and WordNet folders for the tests of the list builder."""

import os
import pathlib
from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape, quoteattr

import pytest

MakeDump = Callable[[Sequence[str]], str]

SITE = """<siteinfo><namespaces><namespace key="0" /><namespace key="6">Datei</namespace>
<namespace key="14">Kategorie</namespace></namespaces></siteinfo>"""


def page_xml(title: str, text: str, *, ns: int = 0, redirect: str = "", model: str = "") -> str:
    return (
        f"<page><title>{escape(title)}</title><ns>{ns}</ns><id>1</id>"
        + (f"<redirect title={quoteattr(redirect)} />" if redirect else "")
        + "<revision><id>2</id>"
        + (f"<model>{model}</model>" if model else "")
        + f'<text xml:space="preserve">{escape(text)}</text></revision></page>'
    )


@pytest.fixture
def make_page() -> Callable[..., str]:
    """Makes the XML of one page: title, wikitext, ns, redirect, model."""
    return page_xml


@pytest.fixture
def make_dump() -> MakeDump:
    """Makes the XML of a dump from the XML of its pages."""

    def make(pages: Sequence[str]) -> str:
        name = "http://www.mediawiki.org/xml/export-0.11/"
        return f'<mediawiki xmlns="{name}" xml:lang="en">{SITE}{"".join(pages)}</mediawiki>'

    return make


@pytest.fixture
def wordnet(tmp_path: pathlib.Path) -> str:
    """A folder with a WordNet of five synsets."""
    folder = tmp_path / "wordnet"
    folder.mkdir()
    licence = "  1 This software and database is being provided to you\n"
    lines = {
        "data.noun": "00001740 03 n 02 Hot_Dog 0 frank 0 000 | a sausage\n"
        "00001930 03 n 01 St._Bernard 0 000 | a dog\n",
        "data.verb": "00001740 29 v 01 breathe 0 000 01 + 02 00 | draw air\n",
        "data.adj": "00001740 00 a 02 galore(ip) 0 .38-caliber 0 000 | in number\n",
        "data.adv": "00001740 02 r 0a " + "hot_dog 0 " * 10 + "000 | so\n",
    }
    for name, text in lines.items():
        (folder / name).write_text(licence + text, encoding="utf-8")
    return str(folder)


CACHE = pathlib.Path.home() / ".cache/openwit"


@pytest.fixture
def real_wordnet() -> str:
    """The folder of Debian's wordnet-base 3.0-37."""
    folder = os.environ.get("OPENWIT_WORDNET") or str(CACHE / "wordnet")
    if not pathlib.Path(folder, "data.noun").exists():
        pytest.skip("set OPENWIT_WORDNET to the folder of WordNet 3.0 (Debian: wordnet-base)")
    return folder


@pytest.fixture
def real_dump() -> str:
    """The shortened English dump in gensim's source distribution."""
    path = os.environ.get("OPENWIT_DUMP") or str(CACHE / "enwiki-shortened.xml.bz2")
    if not pathlib.Path(path).exists():
        pytest.skip("set OPENWIT_DUMP to gensim's enwiki-latest-pages-articles1...shortened.bz2")
    return path
