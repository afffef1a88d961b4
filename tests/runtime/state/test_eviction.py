"""The eviction queue against a search of all items, and what pools count as available."""

import random

from sala_compile.runtime.state.eviction import EvictionQueue
from sala_compile.runtime.state.pages import PagePool


class Item:
    """Something with a key that changes; None takes it out."""

    def __init__(self, key: int) -> None:
        self.key: int | None = key


def test_the_queue_gives_what_a_search_would():
    """Whatever keys do meanwhile: grow unseen, shrink and be pushed again, go and come back."""
    rng = random.Random(3)
    items: list[Item] = []
    queue = EvictionQueue(lambda item: None if item.key is None else (item.key,), lambda: items)
    for _ in range(4000):
        chance, item = rng.random(), rng.choice(items) if items else None
        if item is None or chance < 0.3:
            items.append(Item(rng.randrange(40)))
            queue.push(items[-1])
        elif chance < 0.5 and item.key is not None:
            item.key += rng.randrange(9)
        elif chance < 0.65:
            item.key = rng.randrange(40) if item.key is None else item.key - rng.randrange(9)
            queue.push(item)
        elif chance < 0.75:
            item.key = None
        else:
            kept = rng.choice([None, item])
            found = queue.pop(kept)
            there = [each for each in items if each.key is not None and each is not kept]
            assert found is min(there, key=lambda each: each.key, default=None)  # type: ignore
            if found is not None:
                items.remove(found)
                found.key = None
                queue.remove(found)


def test_pages_that_only_a_cache_holds_are_available():
    rng = random.Random(5)
    pool = PagePool("pages", 20)
    held: list[int] = []
    cached: list[int] = []
    for _ in range(5000):
        chance = rng.random()
        if chance < 0.3 and pool.free:
            held += pool.take(1)
        elif chance < 0.5 and held:
            page = rng.choice(held)
            if page not in cached:
                pool.share([page])
                pool.cache([page])
                cached.append(page)
        elif chance < 0.6 and cached:
            held.append(rng.choice(cached))
            pool.share(held[-1:])
        elif chance < 0.85 and held:
            page = held.pop(rng.randrange(len(held)))
            pool.release([page])
        elif cached:
            page = cached.pop(rng.randrange(len(cached)))
            pool.uncache([page])
            pool.release([page])
        assert pool.available == pool.free + sum(page not in held for page in cached)
