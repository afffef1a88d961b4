"""A server in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = "sala-serve"
_PATIENCE = 180.0


class ServerProcess:
    """Runs a command that serves at `port`, from its start until it was stopped."""

    def __init__(self, command: Sequence[str], port: int, threads: int, log: Path) -> None:
        """Start it, and wait until it answers; RuntimeError if it does not."""
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
        self.port = port
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, env=environment, cwd=ROOT
        )
        end = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"the server does not start, see {log}: {' '.join(command)}")
            time.sleep(0.05)

    def stop(self) -> int:
        """End it as an administrator would; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()
        return self._process.wait()

    def kill(self) -> None:
        """End it as a failure of the machine would."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _answers(self) -> bool:
        try:
            address = f"http://127.0.0.1:{self.port}/v1/models"
            with urllib.request.urlopen(address, timeout=2) as answer:
                return answer.status == 200
        except urllib.error.HTTPError as error:
            return error.code == 401  # with keys, which nobody needs to know here
        except OSError:
            return False


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def own_command(artifact: Path, port: int, threads: int, *options: str) -> list[str]:
    """The command of sala-serve."""
    start = "from sala_compile.runtime.cli.serve import main; main()"
    command = [sys.executable, "-c", start, str(artifact), "--port", str(port)]
    return [*command, "--threads", str(threads), *options]


def llama_server_command(
    binary: str, gguf: Path, port: int, threads: int, slots: int, context: int
) -> list[str]:
    """The command of llama.cpp's server, with so many slots of `context` tokens each."""
    command = [binary, "--model", str(gguf), "--port", str(port), "--host", "127.0.0.1"]
    command += ["--threads", str(threads), "--threads-batch", str(threads), "--no-webui"]
    return [*command, "--parallel", str(slots), "--ctx-size", str(slots * context)]


def llama_python_command(
    python: str, gguf: Path, port: int, threads: int, context: int
) -> list[str]:
    """The command of the server of llama-cpp-python."""
    command = [python, "-m", "llama_cpp.server", "--model", str(gguf), "--port", str(port)]
    command += ["--n_threads", str(threads), "--n_threads_batch", str(threads)]
    return [*command, "--n_ctx", str(context), "--host", "127.0.0.1"]
