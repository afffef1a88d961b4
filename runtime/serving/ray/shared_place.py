"""Places that processes of an application on other nodes know by the same name."""

from pathlib import Path

from sala_compile.runtime.serving.kept.url_files import is_url


def absolute_place(place: str) -> str:
    """A URL, or a path that is the same wherever a process of the application runs."""
    return place if is_url(place) else str(Path(place).absolute())


def shared_url(place: str | None) -> str | None:
    """The URL of a directory that all replicas share; a URL is one already."""
    if place is None or is_url(place):
        return place
    return Path(place).absolute().as_uri()
