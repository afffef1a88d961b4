"""The simulated day: each request is answered, and prefixes are found where they were sent."""

from benchmarks.scale_out import ROUTERS, markdown, trace
from benchmarks.scaled.simulated_day import DAY, Day, Replica, Session, Sizes, Turn

SMALL = Sizes(replicas=16, sessions=400, seconds=DAY / 40)


def test_our_router_finds_more_than_two_choices_do():
    ours, default = Day(SMALL, "prefix").run(), Day(SMALL, "two choices").run()
    assert ours["hit_rate"] >= 1.5 * default["hit_rate"] > 0
    assert ours["wait"]["p99"] <= default["wait"]["p99"]
    for run in (ours, default):
        assert run["requests"] > 3 * SMALL.sessions
    assert default["publish_per_request"] == 0


def test_a_day_is_the_same_twice():
    names = ("requests", "prompt_tokens", "hit_rate", "wait", "first_token")
    one, other = (Day(SMALL, "prefix").run() for _ in range(2))
    assert [one[name] for name in names] == [other[name] for name in names]


def test_a_replica_continues_from_states_and_forgets_what_was_used_least():
    replica = Replica()
    first = Turn(0.0, [b"a", b"b"], [b"a", b"b", b"c"], 130, 70)
    replica.hold(first, 10)
    assert replica.cached([b"a", b"b", b"c", b"d"]) == 3 * 64
    assert replica.cached([b"a", b"x"]) == 0, "no state was kept after the first page"
    replica.hold(Turn(0.0, [b"y"], [b"y", b"z"], 70, 70), 4)
    assert replica.cached([b"a", b"b", b"c"]) == 2 * 64, "the end went first"
    assert set(replica.published()) == {b"b", b"y", b"z"}


def test_a_session_continues_its_own_text():
    import random

    session = Session(3, SMALL, random.Random(2))
    one = session.turn(0.0)
    two = session.turn(1.0)
    assert one.after == two.pages[: len(one.after)]
    assert two.prompt > one.prompt + one.answer


def test_the_trace_shares_documents_and_the_page_has_every_router():
    found = trace(1, 12, 3, 50)
    openings = [each[0] for each in found]
    assert len(found) == 12
    assert all(len(each) == 3 for each in found)
    assert len(set(openings)) == 6 + 3
    day = {router: Day(SMALL, "two choices").run() for router in ROUTERS}
    machine = {"date": "d", "processor": "p", "cpus": 2, "threads": 1, "real_time": False}
    sizes = {name: getattr(SMALL, name) for name in SMALL.__slots__}
    text = markdown(machine | {"versions": {"ray": "1"}, "day": day, "sizes": sizes})
    assert "Our hit rate is 1.0 times the default's" in text
