"""English prose that Debian packages bring along: what is installed of it is read."""

from collections.abc import Mapping
from pathlib import Path

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "anarchism": ("doc/anarchism",),
    "bible-kjv-text": ("bible-kjv-text",),
    "debian-policy": ("doc/debian-policy",),
    "debian-reference-en": ("debian-reference",),
    "developers-reference": ("developers-reference",),
    "doc-debian": ("doc/debian/FAQ",),
    "fortunes": ("games/fortunes",),
    "base-files": ("common-licenses",),
    "libpng16-16": ("doc/libpng16-16",),
}
"""Package -> folders below /usr/share with its texts."""


def debian_texts(share: Path = Path("/usr/share")) -> dict[str, Path]:
    """The folders that are there, by package; names of files are as packages have them."""
    return {
        package: share / folder
        for package, folders in PACKAGES.items()
        for folder in folders
        if (share / folder).is_dir()
    }
