"""Prefill and decode at several lengths and batches, the machine's ceilings in between."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

import sala_compile
from sala_compile.runtime.bench.ceiling_probe import CeilingProbe, Ceilings
from sala_compile.runtime.bench.costs import Cost, CostModel, Live
from sala_compile.runtime.bench.recording import Recording
from sala_compile.runtime.common.stage_bars import StageBars
from sala_compile.runtime.common.timing import Sample, Stopwatch, summarise
from sala_compile.runtime.devices.choose_target import choose_target
from sala_compile.runtime.model import Model
from sala_compile.runtime.sequence import TokenSequence

DECODE_STEPS = 64
"""Samples of a decode rate at most."""
PASSES = 5
"""Samples of a prefill rate at most."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is measured, in about `seconds`; every length is read at least once."""

    artifact: Path
    lengths: tuple[int, ...]
    batches: tuple[int, ...]
    threads: int | None
    seconds: float
    target: str | None = None
    profile: bool = False
    verify_key: Path | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One rate: `tokens` in `seconds`, the median of the clean ones of `total` samples."""

    work: str
    length: int
    batch: int
    tokens: int
    seconds: float
    cost: Cost
    clean: int
    total: int

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


@dataclass(slots=True)
class Bench:
    """Everything found in one run."""

    model: Model
    target: str
    probe: CeilingProbe
    costs: CostModel
    rows: list[Row] = field(default_factory=list[Row])
    recordings: list[Recording] = field(default_factory=list[Recording])

    @property
    def ceilings(self) -> Ceilings:
        """The machine's ceilings over the whole run."""
        return self.probe.result()


@contextmanager
def measured(request: Request, bars: StageBars) -> Iterator[Bench]:
    """Load the model and measure it; it is closed at the end of the block."""
    with ExitStack() as stack:
        model = stack.enter_context(
            sala_compile.load(
                request.artifact,
                context=max(request.lengths) + DECODE_STEPS,
                batch=max(request.batches),
                threads=request.threads,
                target=request.target,
                verify_key=request.verify_key,
            )
        )
        target = choose_target(model.artifact, request.target)
        threads = model.info()["threads"]
        with bars.stage("ceilings"):
            probe = CeilingProbe(model.artifact, target, threads)
        bench = Bench(model, target, probe, CostModel(model.artifact, target))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sala-bench-")))
        share = request.seconds / (len(request.lengths) * (1 + len(request.batches)) + 1)
        for length in sorted(set(request.lengths)):
            probe.measure()
            _Length(bench, length, request, share, bars, folder).run()
        probe.measure()
        yield bench


class _Length:
    """The measurements at one length."""

    def __init__(
        self,
        bench: Bench,
        length: int,
        request: Request,
        share: float,
        bars: StageBars,
        folder: Path,
    ) -> None:
        self._bench, self._model, self._bars = bench, bench.model, bars
        self._length, self._share = length, share
        self._batches = sorted(set(request.batches))
        self._steps = max(1, DECODE_STEPS // len(self._batches))
        self._profile = request.profile and length == max(request.lengths)
        self._state = folder / "state"
        random = np.random.default_rng(length)
        self._tokens = random.integers(0, self._model.vocabulary, length).astype(np.int32)

    def run(self) -> None:
        """Prefill, then decode with each batch."""
        with ExitStack() as stack:
            sequences = [stack.enter_context(self._prefill())]
            if self._batches[-1] > 1:
                sequences[0].save(self._state)
            for batch in self._batches:
                while len(sequences) < batch:
                    # Restored, not forked: a fork would share the pages, and so the caches.
                    sequences.append(stack.enter_context(self._model.restore(self._state)))
                self._decode(sequences[:batch])

    def _prefill(self) -> TokenSequence:
        """Time whole prompts, chunk by chunk; the last sequence that was read."""
        chunk = self._model.info()["chunk"]
        chunks: list[list[Sample]] = [[] for _ in range(-(-self._length // chunk))]
        end = time.monotonic() + self._share
        sequence, recording = self._model.sequence(), None
        with self._bars.stage(f"prefill {self._length}", len(chunks) * PASSES) as advance:
            for turn in range(PASSES):
                if turn:
                    sequence.close()
                    sequence = self._model.sequence()
                recording = self._read(sequence, chunks, advance)
                if time.monotonic() > end:
                    break
        self._keep(recording)
        found = [summarise(samples) for samples in chunks]
        self._bench.rows.append(
            Row(
                work="prefill",
                length=self._length,
                batch=1,
                tokens=self._length,
                seconds=sum(each.median for each in found),
                cost=self._bench.costs.prefill(self._length, chunk),
                clean=sum(each.clean for each in found),
                total=sum(each.total for each in found),
            )
        )
        return sequence

    def _read(
        self, sequence: TokenSequence, chunks: list[list[Sample]], advance: Callable[[int], None]
    ) -> Recording | None:
        """Append the whole prompt; a sample for each chunk."""
        watch = Stopwatch()
        turns = iter(chunks)
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            began, taken = watch.began, watch.lap()
            next(turns).append(taken)
            if recording is not None:
                recording.finish(Live(1, count - done, done, self._length), began, taken)
            advance(1)
            done = count
            watch.lap()

        with self._recorded() as recording:
            sequence.append(self._tokens, progress)
        return recording

    def _decode(self, sequences: list[TokenSequence]) -> None:
        """Time single tokens after all sequences."""
        batch = len(sequences)
        end = time.monotonic() + self._share
        samples: list[Sample] = []
        history = len(sequences[0])
        tokens = [0] * batch
        name = f"decode {self._length} x {batch}"
        with self._recorded() as recording, self._bars.stage(name, self._steps) as advance:
            for _ in range(self._steps):
                live = Live(batch, 1, len(sequences[0]), len(sequences[0]) + 1)
                watch = Stopwatch()
                began = watch.began
                self._model.decode(sequences, tokens)
                samples.append(watch.lap())
                if recording is not None:
                    recording.finish(live, began, samples[-1])
                advance(1)
                if time.monotonic() > end:
                    break
        self._keep(recording)
        found = summarise(samples)
        middle = int(median(range(history, history + len(samples))))
        cost = self._bench.costs.total(Live(batch, 1, middle, middle + 1))
        self._bench.rows.append(
            Row(
                "decode",
                self._length,
                batch,
                batch,
                found.median,
                cost,
                found.clean,
                found.total,
            )
        )

    @contextmanager
    def _recorded(self) -> Iterator[Recording | None]:
        """Record every kernel call inside, if a profile of this length is wanted."""
        if not self._profile:
            yield None
            return
        recording = Recording()
        with self._model.wrapped(recording.wrap):
            yield recording

    def _keep(self, recording: Recording | None) -> None:
        if recording is not None:
            self._bench.recordings.append(recording)
