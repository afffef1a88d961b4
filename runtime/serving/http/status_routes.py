"""Routes about the server itself: its model, its health, its measures."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sala_compile.runtime.serving.http.sampling_choice import default_sampling
from sala_compile.runtime.serving.http.served_model import ServedModel


def status_routes(served: ServedModel) -> APIRouter:
    """The routes for a model."""
    router = APIRouter()

    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model that is served."""
        return {"object": "list", "data": [_model(served)]}

    @router.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """The model of that id."""
        served.require_name(name)
        return _model(served)

    @router.get("/health")
    async def health() -> JSONResponse:
        """Whether the engine works."""
        well = served.engine.failed is None
        return JSONResponse({"status": "ok" if well else "failed"}, 200 if well else 503)

    @router.get("/ready")
    async def ready() -> JSONResponse:
        """Whether requests are taken; not while the server ends."""
        is_ready = served.engine.ready
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    for path, answer in (("/health", health), ("/ready", ready)):
        router.head(path, include_in_schema=False)(answer)  # as some balancers ask

    @router.get("/metrics")
    async def metrics() -> Response:
        """Measures in the format of Prometheus."""
        return Response(
            generate_latest(served.engine.measures.registry), media_type=CONTENT_TYPE_LATEST
        )

    @router.get("/usage")
    async def usage() -> dict[str, Any]:
        """What the server holds and does: memory, requests, kept prefixes, speed."""
        return dict(served.engine.usage())

    return router


def _model(served: ServedModel) -> dict[str, Any]:
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "sala-compile",
        "max_model_len": served.context,
        "default_sampling": default_sampling(served.defaults),
    }
