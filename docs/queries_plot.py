"""Draws what a cap does: `python docs/queries_plot.py LIST TEXTS --cap 100 --out docs/queries.svg`.

LIST is a query list, TEXTS a file with one text a line; each line stands for the text of one pair.
Prints the head and the tail of the counts before and after the cap, as a Markdown table.
"""

import argparse
import math
import pathlib
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.queries.matcher import Matcher
from filters.queries.query_list import load
from filters.queries.select import ALL, QueryKeys, exact_threshold
from manifests.format.ids import pair_id
from pipeline.selection.choose import Matches, choose, hash_matches
from pipeline.selection.quotas import Quotas

Place = Callable[[float, float], tuple[float, float]]
"""Rank and pairs to x and y."""
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 430, 70, 30, 40, 56
COLOURS = {"matched": "#9aa0a6", "kept": "#e08214", "selected": "#2166ac"}
LABELS = {
    "matched": "matched, before the cap",
    "kept": "in kept pairs",
    "selected": "selected by the query",
}


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


def main(list_path: str, texts_path: str, cap: int, out: str) -> None:
    """Match, choose, print and draw."""
    queries = load(list_path)
    texts = pathlib.Path(texts_path).read_text(encoding="utf-8").splitlines()
    lists = Matcher(queries.queries).match(pa.array(texts))
    found = [n for n, ids in enumerate(lists) if len(ids)]
    ids = [pair_id(f"http://example.com/{n}.jpg", texts[n]) for n in found]
    counts = _counts(Matches.of(lists.take(pa.array(found))), ids, QueryKeys(queries.pairs()), cap)
    kept = counts.pop("pairs")[0]
    say(f"{len(texts)} texts, {len(found)} pairs match, {kept} are kept at a cap of {cap}\n")
    _print_table(queries.queries, counts)
    pathlib.Path(out).write_text(_draw(counts, cap), encoding="utf-8")


def _counts(
    matches: Matches, ids: Sequence[bytes], keys: QueryKeys, cap: int
) -> dict[str, NDArray[np.int64]]:
    """Return pairs of each query before and after an exact cap, and the kept pairs of all."""
    pairs = pa.array(ids, pa.binary(16))
    matched = np.bincount(matches.ids, minlength=len(keys))
    theta = np.full(len(keys), ALL, np.uint64)
    u = hash_matches(pairs, matches, np.arange(len(matches.ids)), keys, 0)
    for query in np.flatnonzero(matched > cap).tolist():
        theta[query] = exact_threshold(sorted(u[matches.ids == query].tolist()), cap)
    quotas = Quotas(matched, matched, theta)
    choice = choose(matches, quotas, u[matches.open(quotas)], len(ids))
    return {
        "matched": matched,
        "kept": np.bincount(matches.ids[choice.kept[matches.rows]], minlength=len(keys)),
        "selected": np.bincount(matches.ids[choice.selects], minlength=len(keys)),
        "pairs": np.array([choice.kept.sum()]),
    }


def _print_table(queries: Sequence[str], counts: dict[str, NDArray[np.int64]]) -> None:
    ranked = np.argsort(-counts["matched"], kind="stable")
    ranked = ranked[counts["matched"][ranked] > 0]
    shown = [0, 1, 2, 9, 99, 299, 999, 2999, len(ranked) - 1]
    say("| rank | query | matched | selected | in kept pairs |\n|---:|---|---:|---:|---:|")
    for rank in shown:
        if rank < len(ranked):
            query = ranked[rank]
            cells = [f"{counts[name][query]:,}" for name in ("matched", "selected", "kept")]
            say(f"| {rank + 1:,} | {queries[query]} | {' | '.join(cells)} |")


def _draw(counts: dict[str, NDArray[np.int64]], cap: int) -> str:
    order = np.argsort(-counts["matched"], kind="stable")
    order = order[counts["matched"][order] > 0]
    decades = (math.ceil(math.log10(len(order))), math.ceil(math.log10(counts["matched"].max())))

    def place(rank: float, pairs: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * math.log10(rank) / decades[0]
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log10(pairs) / decades[1]
        return x, y

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_axes(place, decades),
    ]
    for name in COLOURS:
        points = (place(rank, pairs) for rank, pairs in _curve(counts[name][order]))
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        colour = COLOURS[name]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    left, level = place(1, cap)
    right, _ = place(10 ** decades[0], cap)
    parts.append(
        f'<line x1="{left}" x2="{right}" y1="{level:.1f}" y2="{level:.1f}" stroke="#444" '
        f'stroke-dasharray="5 4"/><text x="{right - 4}" y="{level - 6:.1f}" text-anchor="end">'
        f"cap: {cap}</text>"
    )
    for number, (name, label) in enumerate(LABELS.items()):
        y = TOP + 16 + 18 * number
        parts.append(
            f'<line x1="{WIDTH - 240}" x2="{WIDTH - 212}" y1="{y}" y2="{y}" '
            f'stroke="{COLOURS[name]}" stroke-width="3"/>'
            f'<text x="{WIDTH - 204}" y="{y + 4}">{label}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _curve(pairs: NDArray[np.int64]) -> list[tuple[float, float]]:
    """Return (rank, mean pairs) of ranges of ranks that look equally wide on the axis."""
    edges = np.unique(np.round(np.logspace(0, math.log10(len(pairs) + 1), 90)).astype(int))
    spans = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    means = [(math.sqrt(low * (high - 1)), pairs[low - 1 : high - 1].mean()) for low, high in spans]
    return [(rank, float(mean)) for rank, mean in means if mean > 0]


def _axes(place: Place, decades: tuple[int, int]) -> list[str]:
    parts = []
    for power in range(decades[0] + 1):
        (x, bottom), (_, top) = place(10**power, 1), place(10**power, 10 ** decades[1])
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{top}" stroke="#e6e6e6"/>'
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{10**power:,}</text>'
        )
    for power in range(decades[1] + 1):
        (left, y), (right, _) = place(1, 10**power), place(10 ** decades[0], 10**power)
        parts.append(
            f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e6e6e6"/>'
            f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{10**power:,}</text>'
        )
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">'
        "queries by rank: head on the left, tail on the right</text>"
        f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" '
        'text-anchor="middle">pairs of the query</text>'
    )
    return parts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("list")
    parser.add_argument("texts")
    parser.add_argument("--cap", type=int, required=True)
    parser.add_argument("--out", required=True)
    given = parser.parse_args()
    main(given.list, given.texts, given.cap, given.out)
