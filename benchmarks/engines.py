"""The sides of a model benchmark, each in a process of its own, asked for samples in turn."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from sala_compile.runtime.common.timing import Sample, sample

SETTLE_SECONDS = 0.5
"""Before a sample: threads of OpenMP spin for a while after their last work, in any process."""


class Engine(Protocol):
    """A loaded model with one sequence."""

    def reset(self) -> None:
        """Forget the sequence."""
        ...

    def append(self, token_ids: list[int]) -> Any:
        """Add tokens to the sequence; the logits [vocabulary] behind the last."""
        ...


class RuntimeEngine:
    """This project's runtime on a compiled artifact."""

    def __init__(self, artifact: Path, threads: int, context: int) -> None:
        """Load the artifact for one sequence."""
        import sala_compile

        self._model = sala_compile.load(artifact, context=context, threads=threads)
        self._sequence = self._model.sequence()

    def reset(self) -> None:
        """Forget the sequence."""
        self._sequence.close()
        self._sequence = self._model.sequence()

    def append(self, token_ids: list[int]) -> Any:
        """Add tokens to the sequence; the logits [vocabulary] behind the last."""
        return self._sequence.append(token_ids)


class TorchEngine:
    """The same model in torch eager, bfloat16."""

    def __init__(self, checkpoint: Path, threads: int, context: int) -> None:
        """Read the checkpoint; the context is not planned ahead."""
        import torch

        from benchmarks.torch_model import TorchSala

        torch.set_num_threads(threads)
        self._tensor = torch.tensor
        self._model = TorchSala.load(checkpoint)

    def reset(self) -> None:
        """Forget the sequence."""
        self._model.reset()

    def append(self, token_ids: list[int]) -> Any:
        """Add tokens to the sequence; the logits [vocabulary] behind the last."""
        return self._model.forward(self._tensor(token_ids)).numpy()


class CompiledEngine:
    """The same model under torch.compile, bfloat16."""

    def __init__(self, checkpoint: Path, threads: int, context: int) -> None:
        """Read the checkpoint; a graph is compiled when it is first needed."""
        import torch

        from benchmarks.torch_compiled import CompiledSala

        torch.set_num_threads(threads)
        self._tensor = torch.tensor
        self._model = CompiledSala.load(checkpoint)
        self._model.prepare(context)

    @property
    def first_calls(self) -> dict[str, float]:
        """Seconds of the first call for each number of tokens: compilation and one run."""
        return {str(tokens): seconds for tokens, seconds in self._model.first_calls.items()}

    def reset(self) -> None:
        """Forget the sequence."""
        self._model.reset()

    def append(self, token_ids: list[int]) -> Any:
        """Add tokens to the sequence; the logits [vocabulary] behind the last."""
        return self._model.forward(self._tensor(token_ids)).numpy()


class Worker:
    """A process that holds an engine and works only while it is asked."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        """Start the process; `make` is pickled into it."""
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, child), daemon=True)
        self._process.start()
        self._receive()

    def reset(self) -> None:
        """Forget the sequence."""
        self._ask("reset", None)

    def append(self, token_ids: list[int]) -> Any:
        """Logits of the last of these tokens, not timed."""
        return self._ask("append", token_ids)

    def timed(self, calls: list[list[int]]) -> Sample:
        """Time the appends of these tokens, one behind the other."""
        return self._ask("timed", calls)

    def asked(self, name: str) -> Any:
        """An attribute of the engine."""
        return self._ask("attribute", name)

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join()

    def _ask(self, action: str, argument: Any) -> Any:
        self._connection.send((action, argument))
        return self._receive()

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError:
            raise SystemExit("a benchmark process ended early; its error stands above") from None


def _serve(make: Callable[[], Engine], connection: Connection) -> None:
    engine = make()
    connection.send(None)
    while True:
        try:
            action, argument = connection.recv()
        except EOFError:
            return
        if action == "reset":
            engine.reset()
            connection.send(None)
        elif action == "append":
            connection.send(engine.append(argument))
        elif action == "attribute":
            connection.send(getattr(engine, argument))
        else:
            time.sleep(SETTLE_SECONDS)
            connection.send(sample(lambda calls=argument: [engine.append(ids) for ids in calls]))
