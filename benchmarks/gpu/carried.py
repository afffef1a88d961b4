"""What travels to a machine with a GPU: an archive of what was prepared, and that it has room."""

import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ARCHIVE = "prepared.tar.xz"
FOLDER = "carry"
"""In the folder of what was prepared: the archive and the packages."""
MOST_BYTES = 64 << 20
"""What may travel, files of the checkout included."""
MARGIN = 2 << 20
"""Bytes of it that are left alone: headers, and results of an earlier call."""


class TooLarge(Exception):
    """What would travel is over the limit."""


def pack(prepared: Path) -> Path:
    """Write the archive of all of a folder but what is in FOLDER; equal files, equal bytes."""
    archive = prepared / FOLDER / ARCHIVE
    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, "w:xz") as file:
        for path in sorted(prepared.rglob("*")):
            name = path.relative_to(prepared)
            if path.is_file() and name.parts[0] != FOLDER:
                file.add(path, str(name), filter=_without_owner)
    return archive


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    mine = {"uid": 0, "gid": 0, "uname": "", "gname": ""}
    return member.replace(mtime=0, mode=0o644, **mine, deep=False)


@contextmanager
def unpacked(folder: Path) -> Iterator[Path]:
    """What was prepared: the archive in the folder in a folder of its own, or the folder itself."""
    archive = folder / ARCHIVE
    if not archive.exists():
        yield folder
        return
    with TemporaryDirectory() as place, tarfile.open(archive) as file:
        file.extractall(place, filter="data")
        yield Path(place)


def sizes(carried: Path, checkout: Path) -> dict[str, int]:
    """Bytes of what travels: the checkout by its folders, and each thing that is carried."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=checkout, capture_output=True, check=True).stdout.decode()
    found: dict[str, int] = {}
    for name in filter(None, listed.split("\0")):
        top = name.partition("/")[0]
        found[top] = found.get(top, 0) + _bytes([checkout / name])
    for path in sorted(carried.iterdir()):
        found[str(path)] = _bytes(path.rglob("*") if path.is_dir() else [path])
    return found


def require_room(found: Mapping[str, int]) -> int:
    """Bytes of all; TooLarge, with what is largest, where that leaves no margin."""
    total = sum(found.values())
    if total <= MOST_BYTES - MARGIN:
        return total
    largest = sorted(found.items(), key=lambda item: -item[1])[:6]
    parts = ", ".join(f"{name} {size / 2**20:.1f}" for name, size in largest)
    raise TooLarge(
        f"{total / 2**20:.1f} MiB would travel, and {MOST_BYTES >> 20} MiB less a margin of "
        f"{MARGIN >> 20} may: {parts}. Move files of yours out of the checkout or ignore them, or "
        "prepare with --no-wheels for a machine that has the packages"
    )


def _bytes(paths: Iterable[Path]) -> int:
    return sum(path.lstat().st_size for path in paths if path.is_file())
