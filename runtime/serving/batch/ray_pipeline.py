"""The requests of a batch over many machines, by Ray Data."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, cast

import ray.data

from sala_compile.runtime.serving.batch.batch_lines import BatchLine
from sala_compile.runtime.serving.batch.line_answerer import LineAnswerer
from sala_compile.runtime.serving.ray.artifact_place import local_artifact
from sala_compile.runtime.serving.ray.shared_place import absolute_place, shared_url

_ROUNDS = 8
"""So many lines for each answer that a replica computes at a time go to it together."""
_LINE, _ANSWER = "line", "answer"


class LinesOfBatch:
    """A replica of the pipeline: a model that answers blocks of lines."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Load the model on the node of this replica."""
        path = local_artifact(options["model"])
        self._answerer = LineAnswerer(path, options, options["model_name"])

    def __call__(self, block: dict[str, Any]) -> dict[str, list[str]]:
        """The lines of answers for a block of lines of requests, all as JSON."""
        lines = [_unpacked(text) for text in block[_LINE]]
        return {_ANSWER: [json.dumps(each) for each in self._answerer.answers(lines)]}

    def __del__(self) -> None:
        """End the engine."""
        if hasattr(self, "_answerer"):
            self._answerer.close()


def pipeline_answers(
    lines: Sequence[BatchLine], options: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """A line for each request, as blocks of them are done; the order is none.

    Ray answers a block again whose replica was lost: who writes the lines takes each id once.
    """
    place = options["prefix_dir"]
    given = options | {
        "model": absolute_place(str(options["model"])),
        "prefix_dir": None if place is None else shared_url(str(place)),
    }
    count, most = options["replicas"], _ROUNDS * options["batch"]
    size = max(1, min(most, -(-len(lines) // count)))
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = cast("Any", ray.data).from_items(
        [{_LINE: _packed(line)} for line in lines], override_num_blocks=-(-len(lines) // size)
    )
    answered = rows.map_batches(
        LinesOfBatch,
        fn_constructor_args=(given,),
        batch_size=size,
        compute=ray.data.ActorPoolStrategy(size=count),
        num_cpus=options["cpus"],
    )
    for row in answered.iter_rows():
        yield json.loads(row[_ANSWER])


def _packed(line: BatchLine) -> str:
    return json.dumps(asdict(line) | {"body": line.body.decode()})


def _unpacked(text: str) -> BatchLine:
    found = json.loads(text)
    return BatchLine(**(found | {"body": found["body"].encode()}))
