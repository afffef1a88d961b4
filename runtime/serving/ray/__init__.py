"""Replicas on Ray Serve: `serve run sala_compile.runtime.serving.ray:app artifact=NAME.sala`.

Ray is imported when the application is built, so that what needs none of it can do without.
"""

from typing import Any

from sala_compile.runtime.serving.ray.app_options import AppOptions


def app(options: AppOptions) -> Any:
    """The application of these options, a `ray.serve.Application`; the builder that Ray calls."""
    from sala_compile.runtime.serving.ray.ray_app import built_app

    return built_app(options)


__all__ = ["app"]
