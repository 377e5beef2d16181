"""The page in Chromium: every chart drawn, nothing overflows, everything can be read, nothing runs.

The page is loaded twice: as it is, under its own policy; and once more with an audit in the place
of the policy, which could not run under it.
"""

import json
import pathlib
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from manifests.format import Manifest
from manifests.inspection.stats import stats
from manifests.report.page import shown, write_report
from tests.manifests.report.hostile import HOSTILE, hostile_dataset

MakeDataset = Callable[..., Manifest]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
LIGHT, DARK = 1, 0
"""Chromium's numbers of the preferred colour schemes."""
pytestmark = [
    pytest.mark.peer,
    pytest.mark.timeout(240),  # other programs, on a machine that may be busy
    pytest.mark.skipif(BROWSER is None, reason="no browser: on Debian: apt-get install chromium"),
]
AUDIT = """
const colour = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92
  : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const found = colour(getComputedStyle(node).backgroundColor);
    if (found.length < 4 || found[3] > 0.99) return found;
  }
  return [255, 255, 255];
};
const audit = () => {
  const faint = [], wide = [], clipped = innerWidth;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const place = walker.currentNode.parentElement, style = getComputedStyle(place);
    if (!walker.currentNode.data.trim() || !place.getClientRects().length
        || style.visibility === "hidden" || ["SCRIPT", "STYLE"].includes(place.tagName)) continue;
    const ink = place instanceof SVGElement ? style.fill : style.color;
    if (ink === "none") continue;
    const [a, b] = [light(colour(ink)), light(behind(place))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) faint.push([walker.currentNode.data.slice(0, 40), ratio]);
  }
  for (const place of document.querySelectorAll("body *")) {
    const inside = place.closest(".scroll, svg");
    if (!inside && place.getBoundingClientRect().right > clipped + 1)
      wide.push(place.tagName + "." + place.className);
  }
  return {
    width: innerWidth, dark: matchMedia("(prefers-color-scheme: dark)").matches,
    page: document.documentElement.scrollWidth, wide, faint: faint.slice(0, 9),
    requests: performance.getEntriesByType("resource").map((each) => each.name)
      .filter((name) => !name.startsWith("data:")),
    texts: [...document.querySelectorAll("bdi")].map((each) => each.textContent),
    scripts: document.scripts.length, owned: window.owned || null, title: document.title,
    undrawn: document.querySelectorAll("[data-chart]:not([data-drawn])").length,
    empty: [...document.querySelectorAll("[data-chart]")]
      .filter((each) => !each.querySelector("svg path, svg rect")).length,
  };
};
const wait = (left) => left && document.querySelector("[data-chart]:not([data-drawn])")
  ? setTimeout(wait, 50, left - 1)
  : parent.postMessage(JSON.stringify(audit()), "*");
addEventListener("load", () => wait(200));
"""
FRAME = """<!doctype html><html style="color-scheme: light dark">
<iframe src="audited.html" style="border: 0; height: 900px; width: {width}px"></iframe>
<script>addEventListener("message", (event) =>
  document.documentElement.setAttribute("data-audit", event.data));</script>"""
"""Gives a page any width: a window of Chromium has at least 500 px."""


def load(page: pathlib.Path, *options: str) -> str:
    """Load a page without a network and return its elements; the console must stay empty."""
    words = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
             "--virtual-time-budget=20000", "--enable-logging=stderr", "--v=0",
             "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={page.parent}/profile",
             *options, page.as_uri()]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout


def audited(page: pathlib.Path, width: int, scheme: int) -> dict[str, Any]:
    html = page.read_text()
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', html)
    assert policy
    changed = html.replace(policy[0], f"<script>{AUDIT}</script>")
    page.with_name("audited.html").write_text(changed)
    frame = page.with_name("frame.html")
    frame.write_text(FRAME.format(width=width))
    dom = load(frame, f"--blink-settings=preferredColorScheme={scheme}")
    found = re.search(r'data-audit="([^"]*)"', dom)
    assert found
    text = found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">")
    value: dict[str, Any] = json.loads(text.replace("&nbsp;", "\xa0").replace("&amp;", "&"))
    return value


@pytest.fixture
def page(make_dataset: MakeDataset, tmp_path: pathlib.Path) -> pathlib.Path:
    run = tmp_path / "training"
    (run / "eval" / "held-out").mkdir(parents=True)
    lines = [{"event": "start", "step": 0, "steps": 8, "dataset": "sha256:" + 64 * "0",
              "history": [{"step": 4, "setting": "optim.lr", "before": 0.1, "after": HOSTILE[0]}]},
             *({"event": "train", "step": step, "loss": 1 / step, "top1_i2t": step, "top1_t2i": 0}
               for step in range(1, 9)),
             {"event": "epoch", "step": 8, "epoch": 0, "coverage": 16 * "f"}]  # fmt: skip
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    measure = {"recall_at_1": 0.5, "chance_at_1": 0.1}
    (run / "eval" / "held-out" / "retrieval.json").write_text(json.dumps({"a": measure}))
    manifest, path = hostile_dataset(make_dataset), tmp_path / "page.html"
    write_report(manifest, str(path), stats=lambda: stats(manifest), training=str(run), blur=False,
                 pictures=100)  # fmt: skip
    return path


def test_every_chart_is_drawn_under_the_policy_of_the_page(page: pathlib.Path) -> None:
    dom = load(page)
    assert dom.count('data-chart="') == dom.count('data-drawn="yes"') > 8


@pytest.mark.parametrize("width", [1400, 380])
@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_a_reader_sees_all_of_it_and_nothing_hostile_runs(
    page: pathlib.Path, width: int, scheme: int
) -> None:
    found = audited(page, width, scheme)
    assert (found["width"], found["dark"]) == (width, scheme == DARK)
    assert (found["page"] <= width, found["wide"]) == (True, [])
    assert (found["undrawn"], found["empty"]) == (0, 0)
    assert found["faint"] == []
    assert found["requests"] == []
    assert found["owned"] is None
    assert "report" in found["title"]
    assert {shown(text) for text in HOSTILE} <= set(found["texts"])
    plain = page.read_text().count("<script")
    assert found["scripts"] == plain + 1  # the audit
