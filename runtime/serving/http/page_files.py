"""The chat page: a few static files, read once; a request names one of them and no path."""

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response

from sala_compile.runtime.serving.http.api_error import ApiError

PAGE = "sala_compile.runtime.serving"
INDEX = "index.html"
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page: its bytes, their type, a tag that changes with them."""

    data: bytes
    kind: str
    tag: str


def read_page(folder: Traversable | None = None) -> dict[str, PageFile]:
    """The files of the page by their path in an address; none if the package has no page."""
    place = files(PAGE).joinpath("page") if folder is None else folder
    if not place.is_dir():
        return {}
    found: dict[str, PageFile] = {}
    for file in place.iterdir():
        kind = _KINDS.get(f".{file.name.rpartition('.')[2]}")
        if kind is not None:
            data = file.read_bytes()
            path = "/" if file.name == INDEX else f"/page/{file.name}"
            found[path] = PageFile(data, kind, f'"{sha256(data).hexdigest()[:16]}"')
    return found


def page_routes(page: dict[str, PageFile]) -> APIRouter:
    """The routes of the page's files."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return _file(page, "/", request)

    @router.api_route("/page/{name}", methods=["GET", "HEAD"])
    async def file(name: str, request: Request) -> Response:
        return _file(page, f"/page/{name}", request)

    return router


def _file(page: dict[str, PageFile], path: str, request: Request) -> Response:
    file = page.get(path)
    if file is None:
        raise ApiError(404, "there is no such file")
    headers = _HEADERS | {"ETag": file.tag}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.data, media_type=file.kind, headers=headers)
