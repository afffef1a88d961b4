"""Decoding time behind a long context, whether it was read or filled with random numbers."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

import runtime
from benchmarks.bandwidth import BandwidthProbe
from benchmarks.random_state import write_random_state
from runtime.artifact.reader import open_artifact
from runtime.plan import Part, Sizes, token_parts
from runtime.timing import Sample, sample, summarise

MARGIN = 128
"""Tokens beyond the longest point, for the decoded ones."""


@dataclass(frozen=True, slots=True)
class DecodeTimer:
    """Times single tokens behind a text, and the bandwidth of reading at the same time."""

    artifact: Path
    probe: BandwidthProbe
    console: Console
    steps: int
    threads: int

    def time(self, text: Any) -> dict[str, float]:
        """A row of the table; the tokens go to a copy of the text that is thrown away."""
        with text.fork() as copy:
            copy.append([5])
            samples = [self._sample(copy, step) for step in range(self.steps)]
        return self._row(len(text), samples)

    def time_filled(self, work: Path, points: list[int]) -> list[dict[str, float]]:
        """Rows for caches of random numbers, restored from state files that are not kept.

        All lengths are asked in turn, so that a change of the machine's speed meets all of them.
        """
        path, count = work / "random.sala-state", len(points)
        samples: dict[int, list[Sample]] = {tokens: [] for tokens in points}
        with runtime.load(
            self.artifact,
            context=points[-1] + MARGIN,
            threads=self.threads,
            batch=count,
            sequences=count,
        ) as model:
            texts = []
            for tokens in points:
                write_random_state(self.artifact, path, tokens)
                texts.append(model.restore(path))
                path.unlink()
                texts[-1].append([5])
            for step in range(self.steps):
                for tokens, text in zip(points, texts, strict=True):
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
        return token_parts(program, "cpu", sizes)[Part.COMPRESSED_KEYS]
