"""The harness itself: every way to fail is seen, costs one case, and names its seed."""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from sala_compile.runtime.errors import RequestError
from tests.fuzz import campaign
from tests.fuzz.case import Case, Edit, Literal, from_json, to_json
from tests.fuzz.edits import apply
from tests.fuzz.guard import GuardedBuffer
from tests.fuzz.meter import ACCEPTED, FAILED, REFUSED
from tests.fuzz.report import Figures, failures, table
from tests.fuzz.seeds import drawer
from tests.fuzz.strategies import document_edits
from tests.fuzz.target import Target


class _Odd(Target):
    """What a case does is its base."""

    name = "odd"

    def lay(self, case: Case) -> int:
        return 0

    def check(self, case: Case) -> None:
        DEEDS[case.base]()


class _Panic(BaseException):
    """As the exceptions of pyo3."""


def _raise(error: BaseException) -> None:
    raise error


def _spin() -> None:
    end = time.process_time() + 2.2
    while time.process_time() < end:
        pass


DEEDS: dict[str, Callable[[], object]] = {
    "fine": lambda: None,
    "refused": lambda: _raise(RequestError("no")),
    "wordy": lambda: _raise(RequestError("no" * 10_000)),
    "exception": lambda: _raise(KeyError("a")),
    "panic": lambda: _raise(_Panic()),
    "segfault": lambda: ctypes.string_at(8),
    "exit": lambda: os._exit(7),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "slow": _spin,
    "large": lambda: np.ones(260 << 20, np.uint8),
    "larger": lambda: np.ones(8 << 30, np.uint8),
}
OUTCOMES = {
    "fine": (ACCEPTED, ""),
    "refused": (REFUSED, "RequestError"),
    "wordy": (FAILED, "a message that nobody reads"),
    "exception": (FAILED, "KeyError"),
    "segfault": (FAILED, "signal SIGSEGV"),
    "exit": (FAILED, "exit 7"),
    "killed": (FAILED, "signal SIGKILL"),
    "slow": (FAILED, "too long: accepted"),
    "large": (FAILED, "too much memory: accepted"),
    "larger": (FAILED, "MemoryError"),
    "panic": (FAILED, "_Panic"),
}


def test_every_way_to_fail_is_seen_and_costs_one_case(tmp_path: Path):
    names = [*OUTCOMES, "fine"]
    results = campaign.run(_Odd(tmp_path), lambda seed: Case(names[seed]), list(range(len(names))))
    found = {result.seed: result for result in results}
    assert sorted(found) == list(range(len(names)))
    for seed, name in enumerate(names):
        outcome, kind = OUTCOMES[name]
        assert found[seed].outcome == outcome, name
        assert found[seed].kind.startswith(kind), (name, found[seed].kind)
    assert found[names.index("large")].memory > 250 << 20


def test_a_hang_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Waiting(_Odd):
        def check(self, case: Case) -> None:
            if case.base == "waits":
                time.sleep(3600)

    monkeypatch.setattr(campaign, "WAIT", 2.0)
    names = ["fine", "waits", "fine"]
    results = list(campaign.run(Waiting(tmp_path), lambda seed: Case(names[seed]), [0, 1, 2]))
    assert [(r.seed, r.outcome) for r in results] == [(0, ACCEPTED), (1, FAILED), (2, ACCEPTED)]
    assert results[1].kind.startswith("hang")


def test_a_seed_is_the_same_case_always():
    cases = st.builds(Case, st.just("base"), document_edits("f", b'{"a": [1, 2], "b": {"c": 0.5}}'))
    first, second = drawer("name", cases), drawer("name", cases)
    assert [to_json(first(seed)) for seed in range(40)] == [
        to_json(second(seed)) for seed in range(40)
    ]
    assert len({to_json(first(seed)) for seed in range(40)}) > 30
    assert to_json(first(3)) != to_json(drawer("other", cases)(3))


def test_cases_survive_the_corpus():
    edits = (
        Edit("a.json", "set", ("b", 0), Literal("", "[", 9, "]")),
        Edit("a.json", "set", ("c",), [float("inf"), "\ud800", 10**30]),
        Edit("b", "splice", (1, 3), b"\xff\x00"),
    )
    case = Case("base", edits, {"low": True})
    assert from_json(to_json(case)) == case


def test_edits_write_what_json_libraries_cannot():
    files = {"a.json": b'{"a": [1, 2], "b": 1}', "b": b"0123456789"}
    edits = (
        Edit("a.json", "set", ("a", 0), Literal("", "[", 3, "]")),
        Edit("a.json", "insert", ("a", 1), float("nan")),
        Edit("a.json", "twice", ("b",), 2),
        Edit("a.json", "delete", ("gone", "for", "long")),
        Edit("b", "fill", (8, 99), 0xFF),
        Edit("b", "splice", (0, 2), b""),
        Edit("c", "remove"),
    )
    found = apply(files, edits)
    assert found["a.json"] == b'{"a": [[[[]]], NaN, 2], "b": 1, "b": 2}'
    assert found["b"] == b"234567\xff\xff"
    assert found["c"] is None
    assert files["b"] == b"0123456789"


@pytest.mark.parametrize("low", [False, True])
def test_a_guarded_buffer_ends_where_nobody_may_read(tmp_path: Path, low: bool):
    class Reading(_Odd):
        def check(self, case: Case) -> None:
            buffer = GuardedBuffer(256, low=low)
            ctypes.string_at(buffer.bytes.ctypes.data + int(case.base), 1)

    beyond = -1 if low else 256
    bases = ["0", "255", str(beyond)]
    results = list(campaign.run(Reading(tmp_path), lambda seed: Case(bases[seed]), [0, 1, 2]))
    assert [result.outcome for result in results] == [ACCEPTED, ACCEPTED, FAILED]
    assert results[2].kind.startswith("signal SIGSEGV")


def test_a_write_between_a_buffer_and_its_guard_is_seen():
    buffer = GuardedBuffer(100)
    assert buffer.is_whole
    ctypes.memset(buffer.bytes.ctypes.data + 100, 0, 1)
    assert not buffer.is_whole


def test_the_report_names_a_command_for_every_cause(tmp_path: Path):
    figures = Figures("odd")
    for result in campaign.run(_Odd(tmp_path), lambda seed: Case("exception"), [4, 5]):
        figures.add(result)
    assert "| odd | 2 | 0 | 0 | 2 |" in table([figures])
    text = failures([figures])
    assert "odd: 2 x KeyError" in text
    assert "python -m tests.fuzz --target odd --seed 4" in text
