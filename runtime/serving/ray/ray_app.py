"""The application: an ingress that speaks OpenAI's API, and replicas of an engine behind it."""

from typing import Any, cast

from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig

from sala_compile.runtime.serving.ray.app_options import AppOptions
from sala_compile.runtime.serving.ray.engine_replica import EngineReplica
from sala_compile.runtime.serving.ray.ingress import Ingress
from sala_compile.runtime.serving.ray.shared_place import absolute_place, shared_url

_ROUTER = "sala_compile.runtime.serving.ray.prefix_router.PrefixRouter"
_WAIT_SECONDS = 0.5
_UNSEEN = 4
"""How many requests more than may wait Ray holds back for a replica: those on their way."""


def built_app(options: AppOptions) -> Application:
    """The ingress and the engines behind it, bound to each other."""
    engine = _deployment(
        EngineReplica,
        name="engine",
        max_ongoing_requests=options.batch + options.queue,
        max_queued_requests=_UNSEEN * options.queue,
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
        graceful_shutdown_wait_loop_s=_WAIT_SECONDS,
        graceful_shutdown_timeout_s=options.grace,
        health_check_period_s=options.health_seconds,
        request_router_config=_routing(options),
        **_number(options),
    )
    ingress = _deployment(
        serve.ingress()(Ingress),
        name="ingress",
        num_replicas=options.ingresses,
        max_ongoing_requests=4096,
        ray_actor_options={"num_cpus": options.ingress_cpus},
        graceful_shutdown_wait_loop_s=_WAIT_SECONDS,
        graceful_shutdown_timeout_s=options.grace,
        health_check_period_s=options.health_seconds,
    )
    given = options.model_dump() | {
        "artifact": absolute_place(options.artifact),
        "prefix_dir": shared_url(options.prefix_dir),
        "api_key_file": options.api_key_file and absolute_place(options.api_key_file),
    }
    return ingress.bind(given, engine.bind(given))


def _deployment(kind: Any, **options: Any) -> Any:
    """A deployment of a class: Ray's own types do not say that it can be bound."""
    return cast("Any", serve).deployment(kind, **options)


def _number(options: AppOptions) -> dict[str, Any]:
    """How many engines: so many, or as many as requests in flight ask for."""
    if options.max_replicas is None:
        return {"num_replicas": options.replicas}
    least = options.min_replicas or 1
    return {
        "autoscaling_config": {
            "min_replicas": least,
            "initial_replicas": min(max(options.replicas, least), options.max_replicas),
            "max_replicas": options.max_replicas,
            "target_ongoing_requests": options.target or float(options.batch),
        }
    }


def _routing(options: AppOptions) -> RequestRouterConfig:
    if options.router == "balanced":
        return RequestRouterConfig()
    given = {
        "request_router_class": _ROUTER,
        "request_router_kwargs": options.model_dump(include={"factor", "slack", "share", "doubt"}),
        "request_routing_stats_period_s": options.stats_seconds,
    }
    return RequestRouterConfig.model_validate(given)
