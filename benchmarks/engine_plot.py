"""The two drawings of the engine's benchmark: how CPU time grows, and what each step adds."""

import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 430, 70, 30, 40, 56
COLOURS = ("#2166ac", "#e08214", "#9aa0a6")
BAR, GAP, LABELS = 9, 8, 170
"""Height of a bar, space between two steps, width for their names."""


def growth_plot(lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw CPU seconds over rows, both logarithmic; dashed is what grows as the rows do.

    Args:
        lines: (rows, CPU seconds) of each line, by its name, at most 3.
    """
    points = [point for line in lines.values() for point in line]
    low = [math.floor(math.log10(min(point[axis] for point in points))) for axis in (0, 1)]
    high = [math.ceil(math.log10(max(point[axis] for point in points))) for axis in (0, 1)]

    def place(rows: float, seconds: float) -> tuple[float, float]:
        right = (math.log10(rows) - low[0]) / (high[0] - low[0])
        up = (math.log10(seconds) - low[1]) / (high[1] - low[1])
        return LEFT + (WIDTH - LEFT - RIGHT) * right, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * up

    parts = _head(HEIGHT)
    for power in range(low[0], high[0] + 1):
        x, bottom = place(10**power, 10 ** low[1])
        parts.append(_line(x, TOP, x, bottom, "#e6e6e6"))
        parts.append(_text(x, bottom + 18, f"{10**power:,}", "middle"))
    for power in range(low[1], high[1] + 1):
        x, y = place(10 ** low[0], 10**power)
        parts.append(_line(x, y, WIDTH - RIGHT, y, "#e6e6e6"))
        parts.append(_text(x - 8, y + 4, f"{10.0**power:g}", "end"))
    for (name, line), colour, number in zip(lines.items(), COLOURS, range(3), strict=False):
        places = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in line)
        parts.append(
            f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        (rows, seconds), last = line[-1], line[0][0]
        parts.append(_line(*place(last, seconds * last / rows), *place(rows, seconds), colour, "4"))
        parts += _key(LEFT + 20, TOP + 20 + 18 * number, name, colour)
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "rows", "middle"))
    parts.append(_text(LEFT, TOP - 14, "CPU seconds, less those of a run of 100 rows", "start"))
    return "\n".join([*parts, "</svg>", ""])


def overhead_plot(steps: Mapping[str, tuple[float, float]]) -> str:
    """Draw what each step takes.

    Args:
        steps: CPU seconds in a plain loop and on the engine, by the step's name, in their order.
    """
    row = 2 * BAR + GAP
    height = TOP + row * len(steps) + 30
    most = max(max(pair) for pair in steps.values())
    parts = _head(height)
    for number, (name, pair) in enumerate(steps.items()):
        top = TOP + row * number
        parts.append(_text(LABELS - 8, top + BAR + 5, name, "end"))
        for place, (seconds, colour) in enumerate(zip(pair, COLOURS, strict=False)):
            width = (WIDTH - LABELS - 90) * seconds / most
            y = top + BAR * place
            parts.append(
                f'<rect x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR - 1}" '
                f'fill="{colour}"/>'
            )
        end = LABELS + (WIDTH - LABELS - 90) * max(pair) / most
        parts.append(_text(end + 6, top + BAR + 5, f"{pair[0]:.1f}, {pair[1]:.1f}", "start"))
    parts += _key(LABELS, TOP - 20, "CPU seconds in a plain loop", COLOURS[0])
    parts += _key(LABELS + 240, TOP - 20, "on the engine", COLOURS[1])
    return "\n".join([*parts, "</svg>", ""])


def _head(height: float) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "0") -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-dasharray="{dash}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _key(x: float, y: float, name: str, colour: str) -> list[str]:
    return [
        f'<rect x="{x}" y="{y - 4}" width="26" height="4" fill="{colour}"/>',
        _text(x + 34, y + 3, name, "start"),
    ]
