"""sala-serve as a process of its own."""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import httpx

from tests.support.http_server import until


@contextmanager
def started(
    command: Sequence[object], environment: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A server that a command starts: its process, the address, and what it showed so far."""
    process = subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr is not None
    try:
        shown = ""
        while not (found := re.search(r"API +(http://\S+)/v1\n", shown)):
            line = process.stderr.readline()
            assert line, shown
            shown += line
        url = found[1]

        def answers() -> bool:
            try:
                return httpx.get(f"{url}/ready").status_code == 200
            except httpx.TransportError:
                return False

        until(answers)
        yield process, url, shown
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()
