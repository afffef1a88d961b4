"""The blocks that an answer read, as JSON."""

import asyncio

import numpy as np
import pytest

from sala_compile.runtime.serving.answers.answer_text import AnswerText
from sala_compile.runtime.serving.http.blocks_document import MOST_COLUMNS, blocks_document
from sala_compile.runtime.serving.http.event_post import EventBox, EventPost
from sala_compile.runtime.serving.http.exchange import AnswerChoice, Exchange
from sala_compile.runtime.serving.work.event import BlocksRead, End, Ended, TokenChosen
from sala_compile.runtime.serving.work.job import Job
from tests.support.http_server import Running


@pytest.mark.parametrize("blocks", [1, 5, 255, 256, 257, 1000, 16384])
def test_columns_keep_every_read(blocks):
    rng = np.random.default_rng(blocks)
    counts = rng.integers(0, 3, blocks).astype(np.uint32)
    reads = BlocksRead(64, 9, {7: counts, 3: counts[: blocks // 2 + 1]})
    found = blocks_document(reads, blocks * 64 - 5)
    assert found["blocks"] == blocks
    assert found["layers"] == [3, 7]
    assert found["read"] == [np.count_nonzero(counts[: blocks // 2 + 1]), np.count_nonzero(counts)]
    assert [sum(row) for row in found["columns"]] == [counts[: blocks // 2 + 1].sum(), counts.sum()]
    assert len({len(row) for row in found["columns"]}) == 1
    assert len(found["columns"][0]) <= MOST_COLUMNS
    last = int(np.flatnonzero(counts)[-1]) if counts.any() else 0
    assert not counts.any() or found["columns"][1][last // found["blocks_per_column"]] > 0


def test_an_answer_that_a_stop_string_cuts_waits_for_what_was_read(server: Running):
    """The engine tells it at the end of the job, a step after the text is complete."""
    told: list[tuple[str, bool]] = []

    async def exchanged() -> None:
        post = EventPost(asyncio.get_running_loop())
        job = Job(np.ones(3, np.int32), 9, print, observe=True)
        answer = AnswerText(server.served.tokenizer, [1, 1, 1], stop=("c",))
        choice = AnswerChoice(0, 0, job, answer)
        exchange = Exchange(server.served, "id", [choice], EventBox(post))
        sink = exchange.box.sink(0, choice.timing.note)

        async def follow() -> None:
            while not exchange.over:
                for each, delta in await exchange.news():
                    told.append((delta.content, "blocks_read" in each.ending))

        following = asyncio.ensure_future(follow())
        for events in (
            [TokenChosen(0)],
            [TokenChosen(1), TokenChosen(2), TokenChosen(0)],
            [TokenChosen(4)],
            [BlocksRead(64, 4, {0: np.ones(1, np.uint32)}), Ended(End.CANCELLED)],
        ):
            sink(events)
            post.send()
            await asyncio.sleep(0.01)
        await asyncio.wait_for(following, 10)
        assert job.cancelled
        assert choice.answer.completion_tokens == 3

    asyncio.run(exchanged())
    assert told == [("a", False), ("b", True)]
