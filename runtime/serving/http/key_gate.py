"""Who may ask: the one check before routing, and before a body is read."""

import hmac
import ipaddress
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.http.api_error import ApiError

KEY_FILE_BYTES = 1 << 20
CLIENT = "sala.client"
"""Where in a scope the name of the client is, for fairness and for the log."""


class KeyGate:
    """An ASGI application before another: every path but the open ones needs one of the keys.

    Without keys anybody may ask whose request names this machine itself: a page of another site
    whose name was made to lead here does not.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Sequence[str] = (),
        open_paths: Iterable[str] = (),
        local_only: bool = False,
    ) -> None:
        """With `local_only`, requests without keys have to name this machine."""
        self._app = app
        self._digests = [sha256(key.encode()).digest() for key in keys]
        self._open = frozenset(open_paths)
        self._local_only = local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http":
            error = self._refusal(scope)
            if error is not None:
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers, address = Headers(scope=scope), (scope.get("client") or ("",))[0]
        scope[CLIENT] = address
        if not self._digests:
            foreign = self._local_only and not _is_here(headers.get("host", ""))
            return _foreign() if foreign else None
        if scope["path"] in self._open and scope["method"] in ("GET", "HEAD"):
            return None
        number = self._key(headers.getlist("authorization"))
        if number is None:
            return _no_key("authorization" in headers)
        scope[CLIENT] = f"key {number + 1}, {address}"
        return None

    def _key(self, given: list[str]) -> int | None:
        """The number of the key that a request brings; the time tells nothing of the keys."""
        scheme, _, key = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        digest = sha256(key.strip().encode("latin-1")).digest()
        equal = [hmac.compare_digest(digest, known) for known in self._digests]
        return equal.index(True) if scheme.lower() == "bearer" and any(equal) else None


def read_keys(path: Path) -> list[str]:
    """The keys of a file, one a line; RequestError if there are none, or one cannot be sent."""
    where = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(KEY_FILE_BYTES + 1)
    except OSError as error:
        raise RequestError(
            f"the key file cannot be read: {error.strerror}",
            where=where,
            expected="a file with one key a line",
        ) from None
    if len(data) > KEY_FILE_BYTES:
        raise RequestError("the key file is too large", where=where, expected="at most 1 MiB")
    keys = [line.strip() for line in data.split(b"\n") if line.strip()]
    for number, key in enumerate(keys, 1):
        if not all(0x21 <= byte <= 0x7E for byte in key):
            raise RequestError(
                f"the key {number} has a character that no header may have",
                where=where,
                expected="letters, digits and punctuation of ASCII, without spaces",
            )
    if not keys:
        raise RequestError("the key file has no key", where=where, expected="one key a line")
    return list(dict.fromkeys(key.decode() for key in keys))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens at `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_here(host: str) -> bool:
    """Whether the Host header of a request is an address, or this machine's own name."""
    name = host.rsplit("]", 1)[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    name = name.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _no_key(given: bool) -> ApiError:
    message = "Incorrect API key provided." if given else "You didn't provide an API key."
    message += " Send a key of this server in the header: Authorization: Bearer KEY"
    headers = {"WWW-Authenticate": "Bearer"}
    return ApiError(401, message, None, "invalid_api_key", headers)


def _foreign() -> ApiError:
    message = "without --api-key-file this server answers to localhost and to addresses alone"
    return ApiError(403, message, None, "host_not_allowed")
