"""One HTML file of a dataset: everything is in it, and nothing in it is fetched or run but ours."""

import base64
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from manifests.base import storage
from manifests.base.console import bytes_text, printable
from manifests.base.errors import RefusedError
from manifests.format.manifest import Manifest
from manifests.report.sections import gather
from manifests.report.training import training_section

HERE = pathlib.Path(__file__).parent
SCRIPTS = (
    "bundled/vega.min.js",
    "bundled/vega-lite.min.js",
    "bundled/vega-embed.min.js",
    "page.js",
)
MAX_TEXT = 300
"""Characters of a text from the web that are shown."""


@dataclasses.dataclass(frozen=True)
class Page:
    """What was made."""

    html: bytes
    left_out: tuple[str, ...]
    """Titles of sections without a source."""


def write_report(
    manifest: Manifest,
    out: str,
    *,
    stats: Callable[[], Mapping[str, Any]],
    stages: str | None = None,
    training: str | None = None,
    pictures: int = 60,
    blur: bool = True,
) -> Page:
    """Write the page to a file.

    Args:
        manifest: the dataset.
        out: path or URI of the file; it is replaced.
        stats: gives the statistics of the dataset.
        stages: ROOT/stages of the run that made the dataset, for images that were dropped.
        training: folder of a training run whose curves are shown.
        pictures: how many samples the gallery shows.
        blur: whether images are blurred until the reader asks for them.

    Raises:
        RefusedError: if `pictures` is out of range.
    """
    if not 0 <= pictures <= 1000:
        raise RefusedError(f"--gallery {pictures}: must be from 0 to 1000")
    sections = gather(manifest, stats=stats, stages=stages, training=training, pictures=pictures)
    page = Page(
        _render(manifest, sections, blur=blur),
        tuple(section["title"] for section in sections.values() if section["missing"]),
    )
    storage.write_atomic(out, page.html)
    return page


def write_training_report(manifest: Manifest, out: str, training: str) -> None:
    """Write the page of a training run alone.

    Args:
        manifest: the dataset that is trained on.
        out: path or URI of the file; it is replaced.
        training: folder of the run.

    Raises:
        RefusedError: if it has no step yet.
        ValueError, KeyError: if its files are damaged.
    """
    section = {"title": "Training", "missing": "", **training_section(training)}
    storage.write_atomic(out, _render(manifest, {"training": section}, blur=False))


def _render(manifest: Manifest, sections: Mapping[str, Any], *, blur: bool) -> bytes:
    import jinja2
    import markupsafe

    # Our own files: they are not escaped. What they hold is pinned by the page's policy.
    scripts = [(HERE / name).read_text("utf-8") for name in SCRIPTS]
    names: list[int] = []

    def keep(spec: object) -> str:
        names.append(1)
        return f"chart-{len(names)}"

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {
        "shown": shown,
        "number": _number,
        "percent": _percent,
        "keep": keep,
        "json": lambda value: markupsafe.Markup(script_json(value)),  # noqa: S704 (escaped there)
    }
    totals = manifest.totals
    html = environment.get_template("page.html.j2").render(
        manifest=manifest,
        sections=sections,
        blur=blur,
        facts={
            "pairs": totals["samples"],
            "shards": totals["shards"],
            "in tars": bytes_text(totals["tar_bytes"]),
            "in rows": bytes_text(totals["parquet_bytes"]),
            "revision": manifest.revision,
        },
        policy=_policy(scripts),
        css=markupsafe.Markup((HERE / "page.css").read_text("utf-8")),  # noqa: S704 (our own)
        scripts=[markupsafe.Markup(script) for script in scripts],  # noqa: S704 (our own)
    )
    return html.lstrip("\n").encode()


def shown(value: object) -> str:
    """Return a text from the web as it may stand on the page, before it is escaped."""
    text = "" if value is None else str(value)
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return printable(text)


def _number(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _percent(share: float) -> str:
    return f"{share:.3%}" if share < 0.001 else f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def script_json(value: object) -> str:
    """Return JSON that can stand in a `<script>`: nothing in it ends or opens an element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _policy(scripts: list[str]) -> str:
    """Return the page's content policy: our scripts by digest, images from the page itself."""
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    allowed = " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in digests)
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
