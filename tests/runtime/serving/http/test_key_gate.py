"""Keys: in one place, before the routing and the body, for every route but the open ones."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.http.key_gate import is_loopback, read_keys
from tests.support.http_server import Running, serving
from tests.support.raw_http import talk

KEYS = ("first-key", "second-key")


@pytest.fixture(scope="module")
def guarded(talking: Path) -> Iterator[Running]:
    with serving(talking, keys=KEYS) as running:
        yield running


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


ROUTES = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/talking"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("POST", "/apply-template"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/states"),
    ("GET", "/docs"),
    ("GET", "/no/such/path"),
    ("DELETE", "/health"),
    ("GET", "/health/"),
    ("GET", "//health"),
    ("OPTIONS", "/v1/completions"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_needs_a_key(guarded: Running, method: str, path: str):
    wrong = [{}, _bearer("third-key"), _bearer("first-key second-key")]
    wrong += [{"authorization": "Basic first-key"}, {"authorization": "first-key"}]
    for headers in wrong:
        response = httpx.request(method, guarded.url + path, headers=headers)
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"
        assert response.headers["www-authenticate"] == "Bearer"


def test_each_key_opens(guarded: Running):
    for key in KEYS:
        assert guarded.get("/v1/models", headers=_bearer(key)).status_code == 200
    assert guarded.get("/v1/models", headers={"authorization": "bearer first-key"}).is_success


def test_health_needs_no_key(guarded: Running):
    for path in ("/health", "/ready"):
        assert guarded.get(path).status_code == 200
        head = httpx.head(guarded.url + path)
        assert (head.status_code, head.content) == (200, b"")


def test_two_keys_in_one_request_are_none(guarded: Running):
    request = (
        "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Authorization: Bearer wrong\r\nAuthorization: Bearer first-key\r\n\r\n"
    )
    assert talk(guarded.port, request.encode()).startswith(b"HTTP/1.1 401")


def test_the_body_is_not_waited_for(guarded: Running):
    request = (
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Content-Length: 1000000\r\n\r\n{"
    )
    assert talk(guarded.port, request.encode(), until=b"}}").startswith(b"HTTP/1.1 401")
    expecting = request.replace("\r\n\r\n{", "\r\nExpect: 100-continue\r\n\r\n")
    assert talk(guarded.port, expecting.encode(), until=b"}}").startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:8000", 200),
        ("192.168.0.9", 200),
        ("page.localhost", 200),
        ("example.com", 403),
        ("127.0.0.1.example.com", 403),
        ("", 403),
    ],
)
def test_without_keys_another_site_s_name_is_refused(talking: Path, host: str, status: int):
    with serving(talking, local_only=True) as running:
        assert running.get("/v1/models", headers={"host": host}).status_code == status


def test_a_key_file_has_a_key_a_line(tmp_path: Path):
    path = tmp_path / "keys"
    path.write_bytes(b"one\r\n\n  two  \none\n#three")
    assert read_keys(path) == ["one", "two", "#three"]


@pytest.mark.parametrize("data", [b"", b"\n \n", b"a b\n", "schl\u00fcssel".encode(), b"\x00" * 9])
def test_a_key_file_without_a_usable_key_is_refused(tmp_path: Path, data: bytes):
    path = tmp_path / "keys"
    path.write_bytes(data)
    with pytest.raises(RequestError, match="key"):
        read_keys(path)


def test_a_key_file_that_is_missing_is_refused(tmp_path: Path):
    with pytest.raises(RequestError, match="cannot be read"):
        read_keys(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_addresses(host: str, expected: bool):
    assert is_loopback(host) is expected
