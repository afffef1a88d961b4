"""The choice of a replica: by what is published and sent, by queues, whoever comes and goes."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sala_compile.runtime.serving.ray.replica_choice import MOST_MARKS, ChoiceRule, ReplicaChoice


class Clock:
    """Seconds that tests move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pages(*numbers: int) -> list[bytes]:
    """The digests of a path through the tree: each names all before it."""
    path = tuple(numbers)
    return [repr(path[: end + 1]).encode() for end in range(len(path))]


def chosen(choice: ReplicaChoice, path: Sequence[bytes], queues: dict[str, int]) -> set[str]:
    """The first group, which a request goes to if it is not full."""
    return set(choice.rank(path, queues)[0])


def _two(rule: ChoiceRule | None = None, clock: Clock | None = None) -> ReplicaChoice:
    choice = ReplicaChoice(rule, clock or Clock(), seed=1)
    choice.retain(["a", "b"])
    return choice


def test_the_longest_beginning_is_preferred():
    choice = _two()
    choice.publish("a", pages(1, 2)[1:])
    choice.publish("b", pages(1, 2, 3, 4)[3:])
    queues = {"a": 0, "b": 0}
    assert chosen(choice, pages(1, 2, 3, 4, 5), queues) == {"b"}
    assert chosen(choice, pages(1, 2, 9, 9), queues) == {"a"}
    assert choice.matched("b", pages(1, 2, 3, 4, 5)) == 4
    assert choice.matched("a", pages(1, 2, 3, 4, 5)) == 2
    assert choice.matched("a", pages(7)) == 0


def test_a_longer_queue_is_taken_up_to_the_factor_and_no_further():
    choice = _two(ChoiceRule(factor=2.0, slack=3))
    choice.publish("a", pages(1, 2, 3))
    assert chosen(choice, pages(1, 2, 3), {"a": 3, "b": 0}) == {"a"}
    assert chosen(choice, pages(1, 2, 3), {"a": 4, "b": 0}) == {"b"}
    assert chosen(choice, pages(1, 2, 3), {"a": 11, "b": 4}) == {"a"}
    assert chosen(choice, pages(1, 2, 3), {"a": 12, "b": 4}) == {"b"}


def test_the_next_longest_beginning_takes_the_place_of_one_that_is_too_busy():
    choice = ReplicaChoice(ChoiceRule(factor=1.0, slack=0), Clock(), seed=1)
    choice.retain(["a", "b", "c"])
    choice.publish("a", pages(1, 2, 3))
    choice.publish("b", pages(1, 2))
    assert chosen(choice, pages(1, 2, 3), {"a": 1, "b": 0, "c": 0}) == {"b"}


def test_a_beginning_that_is_a_small_part_is_not_worth_a_queue():
    choice = _two(ChoiceRule(share=0.5, slack=9))
    choice.publish("a", pages(1))
    assert chosen(choice, pages(1, 2), {"a": 5, "b": 0}) == {"a"}
    assert chosen(choice, pages(1, 2, 3), {"a": 5, "b": 0}) == {"b"}


def test_what_was_sent_counts_until_it_is_published_or_in_doubt():
    clock = Clock()
    choice = _two(ChoiceRule(doubt=10), clock)
    choice.sent("b", pages(1, 2, 3))
    queues = {"a": 0, "b": 1}
    assert chosen(choice, pages(1, 2, 3), queues) == {"b"}
    choice.publish("b", [], 1)
    assert chosen(choice, pages(1, 2, 3), queues) == {"b"}, "it is being read"
    clock.now = 11
    choice.publish("b", [], 2)
    assert chosen(choice, pages(1, 2, 3), queues) == {"a"}
    assert len(choice) == 0


def test_what_is_published_stays_until_the_next_time():
    clock = Clock()
    choice = _two(ChoiceRule(doubt=10), clock)
    choice.sent("b", pages(1, 2))
    choice.publish("b", pages(1, 2), "first")
    clock.now = 100
    choice.publish("b", [], "first")
    assert choice.matched("b", pages(1, 2)) == 2, "the same version says nothing new"
    choice.publish("b", [], "second")
    assert choice.matched("b", pages(1, 2)) == 0


def test_a_replica_that_went_is_never_chosen_and_one_that_came_holds_nothing():
    choice = _two()
    choice.publish("a", pages(1, 2))
    choice.sent("a", pages(3))
    choice.retain(["b", "c"])
    assert choice.replicas == {"b", "c"}
    assert len(choice) == 0
    choice.publish("a", pages(1, 2))
    choice.sent("a", pages(1, 2))
    assert len(choice) == 0, "news of one that is gone"
    assert chosen(choice, pages(1, 2), {"b": 1, "c": 0}) == {"c"}
    choice.retain(["a", "b"])
    assert choice.matched("a", pages(1, 2)) == 0


def test_a_long_prompt_is_noted_in_a_bounded_number_of_marks():
    choice = _two()
    path = [b"%d" % n for n in range(20 * MOST_MARKS + 7)]
    choice.sent("a", path)
    assert len(choice) <= MOST_MARKS
    assert choice.matched("a", path) == len(path)
    assert len(path) // 2 - 21 <= choice.matched("a", path[: len(path) // 2]) <= len(path) // 2


def test_without_replicas_there_is_nobody():
    assert ReplicaChoice().rank(pages(1), {}) == []


@given(
    st.lists(st.integers(0, 9), max_size=6),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), min_size=1),
)
@settings(max_examples=200, deadline=None)
def test_every_replica_is_in_the_last_group(path: list[int], queues: dict[str, int]):
    """However it is ranked, a request finds a place where there is one."""
    choice = ReplicaChoice(seed=3)
    choice.retain([*"abcdef"])
    choice.publish("a", pages(*path))
    ranked = choice.rank(pages(*path), queues)
    assert set(ranked[-1]) == set(queues)
    assert all(group and set(group) <= set(queues) for group in ranked)


class Machine(RuleBasedStateMachine):
    """The tree beside a plain record of who holds what until when."""

    names = st.sampled_from("abcd")
    paths = st.lists(st.integers(0, 2), min_size=1, max_size=4)

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.choice = ReplicaChoice(ChoiceRule(doubt=5, share=0.0), self.clock, seed=0)
        self.published: dict[str, set[bytes]] = {}
        self.sent: dict[str, dict[bytes, float]] = {}

    @rule(present=st.sets(names))
    def retain(self, present: set[str]) -> None:
        self.choice.retain(sorted(present))
        self.published = {name: self.published.get(name, set()) for name in present}
        self.sent = {name: self.sent.get(name, {}) for name in present}

    @rule(name=names)
    def drop(self, name: str) -> None:
        self.choice.drop(name)
        self.published.pop(name, None)
        self.sent.pop(name, None)

    @rule(name=names, held=st.lists(paths, max_size=3))
    def publish(self, name: str, held: list[list[int]]) -> None:
        digests = {digest for path in held for digest in pages(*path)}
        self.choice.publish(name, sorted(digests))
        if name in self.published:
            self.published[name] = digests
            self._expire(name)

    @rule(name=names, path=paths)
    def send(self, name: str, path: list[int]) -> None:
        self.choice.sent(name, pages(*path))
        if name in self.sent:
            self.sent[name] |= dict.fromkeys(pages(*path), self.clock.now + 5)
            self._expire(name)

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule(path=paths, queues=st.dictionaries(names, st.integers(0, 12), min_size=1))
    def ask(self, path: list[int], queues: dict[str, int]) -> None:
        rule, shortest = self.choice.rule, min(queues.values())
        able = {n for n, queue in queues.items() if queue <= rule.factor * shortest + rule.slack}
        lengths = {name: self._matched(name, pages(*path)) for name in able}
        longest = max(lengths.values())
        wanted = {name for name in able if lengths[name] == longest}
        found = chosen(self.choice, pages(*path), queues)
        if longest:
            assert found == wanted
        else:
            assert {queues[name] for name in found} == {shortest}

    @invariant()
    def nothing_is_left_over(self) -> None:
        held = {d for digests in (*self.published.values(), *self.sent.values()) for d in digests}
        assert len(self.choice) == len(held)

    def _matched(self, name: str, path: list[bytes]) -> int:
        held = self.published.get(name, set()) | self.sent.get(name, {}).keys()
        return max((end for end in range(1, len(path) + 1) if path[end - 1] in held), default=0)

    def _expire(self, name: str) -> None:
        self.sent[name] = {d: t for d, t in self.sent[name].items() if t > self.clock.now}


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
