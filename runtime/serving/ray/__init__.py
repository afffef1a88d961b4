"""Replicas on Ray Serve: `serve run sala_compile.runtime.serving.ray:app artifact=NAME.sala`."""

from sala_compile.runtime.serving.ray.app import app

__all__ = ["app"]
