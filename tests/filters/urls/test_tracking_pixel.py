import pytest

from filters.urls.tracking_pixel import declared_size, tracker
from filters.verdict import Drop, DropReason


@pytest.mark.parametrize(
    ("width_px", "height_px", "expected"),
    [
        (1, 1, Drop(DropReason.PIXEL_DECLARED, "1x1")),
        (0, None, Drop(DropReason.PIXEL_DECLARED, "0x?")),
        (None, 1, Drop(DropReason.PIXEL_DECLARED, "?x1")),
        (800, 1, Drop(DropReason.PIXEL_DECLARED, "800x1")),
        (15, 2, Drop(DropReason.TINY_DECLARED, "15x2")),
        (15, None, None),
        (16, 2, None),
        (16, 16, None),
        (None, None, None),
    ],
)
def test_declared_sizes_that_show_nothing_are_dropped(
    width_px: int | None, height_px: int | None, expected: Drop | None
) -> None:
    assert declared_size(width_px, height_px) == expected


@pytest.mark.parametrize(
    ("href", "line"),
    [
        ("https://www.facebook.com/tr?id=1&noscript=1", "facebook.com/tr"),
        ("https://www.facebook.com/tr/", "facebook.com/tr"),
        ("https://ad.doubleclick.net/x.gif", "doubleclick.net"),
        ("https://sb.scorecardresearch.com/p?c1=2", "scorecardresearch.com"),
        ("https://bat.bing.com/action/0?ti=1", "bat.bing.com"),
        ("https://pixel.wp.com/g.gif", "pixel.wp.com"),
        ("https://shop.example/a/pixel/b.png", "/pixel"),
        ("https://shop.example/pixel", "/pixel"),
    ],
)
def test_trackers_are_dropped_by_the_line_that_names_them(href: str, line: str) -> None:
    assert tracker(href) == Drop(DropReason.TRACKER, line)


@pytest.mark.parametrize(
    "href",
    [
        "https://www.facebook.com/trip.jpg",
        "https://www.facebook.com/photos/tr.jpg",
        "https://notdoubleclick.net/a.jpg",
        "https://doubleclick.net.example/a.jpg",
        "https://shop.example/pixels/a.jpg",
        "https://shop.example/pixel.jpg",
        "https://shop.example/a.jpg?via=/pixel/",
        "http://[::1]/a.jpg",
    ],
)
def test_urls_that_only_resemble_trackers_are_kept(href: str) -> None:
    assert tracker(href) is None
