"""Requests made from our OpenAPI document, right and wrong ones: no 500, no other error body.

SALA_OPENAPI_EXAMPLES=1000 in the environment asks for that many random ones of each operation.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.http_server import Running, serving, write_talking

schemathesis: Any = pytest.importorskip("schemathesis")
_EXAMPLES = os.environ.get("SALA_OPENAPI_EXAMPLES")
_SETTINGS = settings(
    max_examples=int(_EXAMPLES or 25),
    deadline=None,
    derandomize=_EXAMPLES is None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def talking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("openapi")
    path = write_talking(folder / "talking.sala", context=256)
    with serving(path, prefix_dir=folder / "kept", prefix_cache="1MiB") as running:
        yield running


@pytest.fixture(scope="module")
def document(talking_server: Running) -> dict[str, Any]:
    return talking_server.get("/openapi.json").json()


@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
def test_no_request_is_answered_with_500(
    document: dict[str, Any], talking_server: Running, mode: str
):
    schema = schemathesis.openapi.from_dict(document)
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) >= 14
    for operation in operations:
        kind = schemathesis.GenerationMode[mode]
        if mode == "NEGATIVE" and not operation.body:
            continue  # every text is a right part of a path

        @given(case=operation.as_strategy(generation_mode=kind))
        @_SETTINGS
        def ask(case: Any) -> None:
            _require_no_mistake(case, talking_server)

        ask()


def _require_no_mistake(case: Any, running: Running) -> None:
    response = case.call(base_url=running.url, timeout=60)
    assert response.status_code < 500 or response.status_code == 507, response.text
    if response.status_code >= 400:
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert "Traceback" not in response.text


def test_the_document_names_every_route(document: dict[str, Any]):
    paths = document["paths"]
    assert {"/v1/chat/completions", "/v1/completions", "/v1/states", "/metrics"} <= set(paths)
    for operations in paths.values():
        for operation in operations.values():
            assert operation["description"]
            assert operation["responses"]["default"]
