"""Decoding time behind a long context, whether it was read or filled with random numbers."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

import sala_compile
from benchmarks.bandwidth import BandwidthProbe
from benchmarks.random_state import write_random_state
from sala_compile.runtime.artifact.reader import open_artifact
from sala_compile.runtime.common.timing import Sample, sample, summarise
from sala_compile.runtime.plan import Sizes, token_parts


@dataclass(frozen=True, slots=True)
class DecodeTimer:
    """Times single tokens behind a text, and the bandwidth of reading at the same time."""

    artifact: Path
    probe: BandwidthProbe
    console: Console
    steps: int
    threads: int

    def time_filled(self, work: Path, points: list[int]) -> list[dict[str, float]]:
        """Rows for caches of random numbers, whose state files are not kept."""
        with TemporaryDirectory(dir=work) as directory:
            states = {tokens: Path(directory) / f"{tokens}.sala-state" for tokens in points}
            for tokens, path in states.items():
                write_random_state(self.artifact, path, tokens)
            return self.time_states(states)

    def time_states(self, states: dict[int, Path]) -> list[dict[str, float]]:
        """A row for each state file, by the number of its tokens.

        All lengths are asked in turn, so that a change of the machine's speed meets all of them.
        """
        samples: dict[int, list[Sample]] = {tokens: [] for tokens in states}
        with sala_compile.load(
            self.artifact,
            context=max(states) + self.steps + 1,
            threads=self.threads,
            batch=len(states),
            sequences=len(states),
        ) as model:
            texts = {tokens: model.restore(path) for tokens, path in states.items()}
            for text in texts.values():
                text.append([5])
            for step in range(self.steps):
                for tokens, text in texts.items():
                    samples[tokens].append(self._sample(text, step))
        return [self._row(tokens, found) for tokens, found in samples.items()]

    @staticmethod
    def _sample(text: Any, step: int) -> Sample:
        return sample(partial(text.append, [step + 3]))

    def _row(self, tokens: int, samples: list[Sample]) -> dict[str, float]:
        summary, bandwidth = summarise(samples), self.probe.measure()
        self.console.print(
            f"{tokens:>8} tokens  decode {summary.median * 1e3:.2f} ms, {summary}; "
            f"reading {bandwidth / 1e9:.1f} GB/s"
        )
        return {
            "tokens": tokens,
            "decode_seconds": summary.median,
            "least_seconds": min(each.seconds for each in samples),
            "clean_samples": summary.clean,
            "samples": summary.total,
            "bandwidth": bandwidth,
            "compressed_key_bytes": self._compressed_key_bytes() * tokens,
        }

    def _compressed_key_bytes(self) -> float:
        """Bytes of compressed keys of a token, both levels of all layers."""
        program = open_artifact(self.artifact).program
        sizes = Sizes(context=1 << 20, batch=1, chunk=1, sequences=1, workers=self.threads)
        return token_parts(program, "cpu", sizes)["compressed_keys"]
