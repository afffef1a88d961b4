"""Where the replicas of an application keep prefixes together."""

from pathlib import Path

from sala_compile.runtime.serving.kept.url_files import is_url


def shared_url(place: str | None) -> str | None:
    """The URL of a directory that all replicas share; a URL is one already."""
    if place is None or is_url(place):
        return place
    return Path(place).absolute().as_uri()
