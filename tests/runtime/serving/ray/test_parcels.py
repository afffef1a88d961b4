"""Jobs, events and errors on their way between processes."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.errors import RequestError, SalaError
from sala_compile.runtime.serving.http.chat_request import ChatRequest
from sala_compile.runtime.serving.http.completion_request import CompletionRequest
from sala_compile.runtime.serving.http.served_model import ServedModel
from sala_compile.runtime.serving.ray.artifact_model import ArtifactModel
from sala_compile.runtime.serving.ray.event_parcel import (
    packed_error,
    packed_events,
    unpacked_error,
    unpacked_events,
)
from sala_compile.runtime.serving.ray.held_pages import (
    PromptPages,
    held_pages,
    packed_digests,
    unpacked_digests,
)
from sala_compile.runtime.serving.ray.job_parcel import JobParcel, packed_job, unpacked_job
from sala_compile.runtime.serving.structure.structures import Structures
from sala_compile.runtime.serving.work.event import (
    BlocksRead,
    End,
    Ended,
    Likelihood,
    PromptRead,
    Started,
    TokenChosen,
)
from sala_compile.runtime.serving.work.job import Job
from sala_compile.runtime.serving.work.refusals import NeverFits, QueueFull
from tests.support.http_server import Running, serving


@pytest.fixture(scope="module")
def described(talking: Path) -> Any:
    """What an ingress has, and the structures of an engine elsewhere."""
    artifact = open_artifact(talking)
    model = ArtifactModel(artifact, 4096, "cpu")

    class Nobody:
        failed = None

    served = ServedModel.of(model, Nobody())  # type: ignore[arg-type]
    ends = frozenset(model.generation_options().eos)
    structures = Structures(model.tokenizer, model.vocabulary, ends)
    yield served, structures
    served.close()
    structures.close()


def _job(served: ServedModel, **body: Any) -> Job:
    kind = ChatRequest if "messages" in body else CompletionRequest
    return kind(served, json.dumps(body).encode()).choices[0].job


def test_a_job_arrives_as_it_was_sent(described: Any):
    served, structures = described
    job = _job(
        served,
        prompt="hello",
        **{"max_tokens": 7, "seed": 3, "temperature": 0.5, "logprobs": 2, "timeout": 60},
        **{"priority": 2, "cache_salt": "s", "prefix_reuse": "read", "blocks_read": True},
        **{"allowed_token_ids": [1, 2], "logit_bias": {"4": 1.5}},
    )
    job.client = "key"
    found = unpacked_job(packed_job(job), structures).job(job.sink)
    for name in JobParcel.__slots__:
        if name in ("prompt", "allowed"):
            np.testing.assert_array_equal(getattr(found, name), getattr(job, name))
        elif name != "seconds":
            assert getattr(found, name) == getattr(job, name), name
    assert found.prompt.dtype == np.int32
    assert found.deadline is not None
    assert job.deadline is not None
    assert 0 < found.deadline - time.monotonic() <= 60


@pytest.mark.parametrize(
    "body",
    [
        {"guided_regex": "[ab]{3}"},
        {"guided_choice": ["abc", "fgh"]},
    ],
)
def test_a_constraint_is_made_anew_where_it_arrives(described: Any, body: dict[str, Any]):
    served, structures = described
    job = _job(served, prompt="a", **body)
    found = unpacked_job(packed_job(job), structures).constraint
    assert found is not None
    assert job.constraint is not None
    for _ in range(3):
        one, other = job.constraint.allowed(), found.allowed()
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one, other)
        token = int(np.flatnonzero(np.unpackbits(one.view(np.uint8), bitorder="little"))[0])
        job.constraint.accept(token)
        found.accept(token)
    assert job.constraint.complete() == found.complete()


def test_events_and_errors_arrive_as_they_were_told():
    reads = {3: np.arange(4, dtype=np.uint32)}
    error = QueueFull("full", "here", "less", "wait", retry_after=2.5)
    events = [
        Started(3, 0.5),
        PromptRead(4, [None, Likelihood(-1.0, ((2, -0.5),))]),
        TokenChosen(7, Likelihood(-2.0)),
        BlocksRead(64, 2, reads),
        Ended(End.FAILED, error),
    ]
    found = unpacked_events(packed_events(events))
    assert found[:3] == events[:3]
    np.testing.assert_array_equal(found[3].reads[3], reads[3])  # type: ignore[union-attr]
    last = found[4]
    assert isinstance(last, Ended)
    assert isinstance(last.error, QueueFull)
    assert (str(last.error), last.error.retry_after) == (str(error), 2.5)
    for each in (RequestError("a", "b", "c", "d"), NeverFits("x"), SalaError("y", fix="z")):
        other = unpacked_error(packed_error(each))
        assert (type(other), str(other)) == (type(each), str(each))


def test_a_replica_publishes_the_digests_that_an_ingress_computes(talking: Path):
    with serving(talking, prefix_cache="1MiB") as running:
        text = "a text that is long enough to be kept in pages of four tokens."
        running.post("/v1/completions", {"prompt": text, "max_tokens": 1})
        tree = running.engine.between_steps(lambda engine: held_pages(engine.prefix.tree))
        held = set(unpacked_digests(tree.result(30)))
        pages = PromptPages(running.model.artifact)
        ids = np.asarray(running.model.tokenizer.encode(text + " And more?"), np.int32)
        asked = unpacked_digests(pages.of(ids))
        assert held & set(asked)
        assert not held & set(unpacked_digests(pages.of(ids, b"salt")))
        assert not held & set(unpacked_digests(pages.of(ids[1:])))
    assert unpacked_digests(packed_digests([b"0123456789abcdef", b"x" * 16])) == [
        b"01234567",
        b"x" * 8,
    ]


def test_what_never_fits_has_the_error_of_one_server():
    from sala_compile.runtime.serving.http.api_error import of_sala_error

    error = of_sala_error(NeverFits("a prompt of 9 tokens needs 3 pages"))
    assert (error.status, error.code) == (400, "context_length_exceeded")


def test_an_ingress_describes_a_model_as_its_engine_does(talking: Path, described: Any):
    served, _ = described
    with serving(talking, context=4096) as running:
        own: Running = running
        for name in ("name", "created", "context", "vocabulary", "fingerprint", "defaults", "ends"):
            assert getattr(served, name) == getattr(own.served, name), name
