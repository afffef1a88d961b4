"""Bytes to a port and back, for what no client would send."""

import socket
import time


def talk(
    port: int, data: bytes, *, until: bytes | None = None, pause: float = 0.0, seconds: float = 20.0
) -> bytes:
    """What a server answers to `data` until it closes, or `until` came, or nothing comes.

    With `pause`, every byte is sent on its own, so many seconds apart.
    """
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        try:
            if pause:
                for byte in data:
                    connection.sendall(bytes((byte,)))
                    time.sleep(pause)
            else:
                connection.sendall(data)
        except ConnectionError:
            pass  # it answered and closed before all was sent
        found = b""
        try:
            while until is None or until not in found:
                part = connection.recv(65536)
                if not part:
                    break
                found += part
        except ConnectionError:
            pass
        return found
