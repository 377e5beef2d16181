import collections
import dataclasses
import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from filters.urls.domain import site_of
from filters.urls.url_key import url_host
from filters.verdict import Drop, DropReason
from pipeline.visit.fetcher import Request
from tests.pipeline.visit.replay import Reply
from tests.pipeline.visit.test_visitor import World

REPLIES = st.builds(
    Reply,
    status=st.sampled_from([200, 200, 200, 302, 404, 429, 500, 503]),
    headers=st.sampled_from(
        [
            (),
            ("Retry-After: 3",),
            ("Location: /next",),
            ("Location: http://b.example.com/other",),
            ("Location: http://elsewhere.example/",),
        ]
    ),
    after=st.sampled_from([0.0, 0.05, 0.5, 3.0, 9.0]),
    is_full=st.sampled_from([False, False, False, True]),
    drop=st.sampled_from([None, None, None, Drop(DropReason.CONNECT), Drop(DropReason.TIMEOUT)]),
)
HOSTS = ["a.example.com", "b.example.com", "c.example.com", "d.example.com", "e.example.com",
         "f.example.com", "one.example", "two.example"]  # fmt: skip


@given(
    replies=st.lists(REPLIES, min_size=1, max_size=20),
    counts=st.lists(st.integers(0, 6), min_size=len(HOSTS), max_size=len(HOSTS)),
)
def test_no_limit_is_ever_broken_and_every_task_ends(
    replies: list[Reply], counts: list[int]
) -> None:
    numbers, full = iter(range(10**6)), iter(range(10**6))

    def answer(request: Request) -> Reply:
        reply = replies[next(numbers) % len(replies)]
        # A host that is full for ever would never end.
        return dataclasses.replace(reply, is_full=reply.is_full and next(full) % 3 > 0)

    world = World(default=answer)
    world.visit(*[f"http://{h}/{n}" for h, c in zip(HOSTS, counts, strict=True) for n in range(c)])
    check_limits(world)


def check_limits(world: World) -> None:
    """Check host and site limits and all gaps against what was logged."""
    by_host: dict[str, list[Any]] = collections.defaultdict(list)
    by_site: dict[str, list[Any]] = collections.defaultdict(list)
    for logged in world.fetcher.log:
        by_host[url_host(logged.url)].append(logged)
        by_site[site_of(url_host(logged.url))].append(logged)
    for logs in by_host.values():
        for before, after in itertools.pairwise(logs):
            gap = max(1.0, min(30.0, 5 * (before.end - before.start)))
            assert after.start >= before.end + gap - 1e-6
    for logs in by_site.values():
        for logged in logs:
            running = [each for each in logs if each.start <= logged.start < each.end]
            assert len(running) <= 4
