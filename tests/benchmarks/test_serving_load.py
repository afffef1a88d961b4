"""The load of benchmarks/serving.py, against a small server, and what is written of it."""

from pathlib import Path

import pytest

from benchmarks.served import decode_rate, long_prompts, serving_report
from benchmarks.served.request_mix import run_mix
from benchmarks.served.stream_client import StreamTimes
from tests.support.http_server import serving, write_talking


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its context is so long that no stream ends before a test does."""
    return write_talking(tmp_path_factory.mktemp("served") / "talking.sala", context=1 << 17)


def test_streams_are_counted(talking: Path):
    with serving(talking, batch=4, context=4096) as running:
        mix = run_mix(running.port, 3, 5, seed=1)
    assert len(mix.answers) == 5
    for each in mix.answers:
        assert each.prompt_tokens > 16
        assert len(each.arrivals) == len(each.gaps) + 1 <= each.tokens
        assert each.first > 0
    assert mix.numbers["answer_tokens"] == sum(each.tokens for each in mix.answers)
    assert mix.numbers["first_p50"] <= mix.numbers["first_p99"]


def test_gaps_and_rates_are_found(talking: Path):
    with serving(talking, batch=9, context=1 << 17) as running:
        found = long_prompts.longest_gap(running.port, 29, 300, settled=4)
        assert 0 < found["median"] <= found["while"]
        assert found["first"] > 0


def test_the_scheduler_alone_answers_the_same(talking: Path):
    assert decode_rate.decode_by_scheduler(talking, 1, seed=3) > 0


def test_rates_count_the_time_in_which_all_run():
    one = StreamTimes(0.0, arrivals=[1.0, 2.0, 3.0, 4.0], tokens=8)
    other = StreamTimes(0.0, arrivals=[2.0, 2.5, 3.0, 3.5, 4.0, 9.0], tokens=6)
    assert decode_rate.rate_of([one, other]) == pytest.approx(2 * 2 / 2 + 4 / 2)
    with pytest.raises(RuntimeError, match="no text"):
        decode_rate.rate_of([one, StreamTimes(0.0)])
    with pytest.raises(RuntimeError, match="same time"):
        decode_rate.rate_of([one, StreamTimes(0.0, arrivals=[9.0, 10.0], tokens=2)])


def test_only_gaps_within_a_time_count():
    times = StreamTimes(0.0, arrivals=[1.0, 2.0, 4.0, 5.0, 9.0])
    assert times.gaps == [1.0, 2.0, 1.0, 4.0]
    gap = {"first": 2.0, "before": 0.5, "while": 0.3, "median": 0.1}
    side = {"tokens_per_second": 10.0, "answer_tokens": 5}
    side |= {f"{name}_p{part}": 0.01 for name in ("first", "gap") for part in (50, 95, 99)}
    text = serving_report.markdown(
        {
            **{"date": "today", "processor": "p", "cpus": 2, "threads": 2, "real_time": False},
            "versions": {},
            "asked": {"max_stall": 0.25, "batch": 8},
            "rows": {
                "streams": {"1 streams, round 1": {"sala-serve": side}},
                "decode": {"round 1": {"http": 90.0, "scheduler": 96.0, "bench": 100.0}},
                "stalls": {"round 1": {"sala-serve": gap, "llama-server": gap}},
                "gap": {"round 1": gap},
                "questions": {
                    "round 1": {
                        **{"first": 10.0, "second": 0.2, "restarted": 0.5, "cached": 32704},
                        **{"exit_code": 0, "bytes": 1 << 20},
                    }
                },
            },
        }
    )
    for part in (
        "| 1 | sala-serve | 10.0 | 1.00 |",
        "90.0 %",
        "HTTP and its client on the same CPUs are 5.56 ms; 83.33 ms by the scheduler alone",
        "1.20 of --max-stall",
        "2.00 %",
        "5.00 %",
    ):
        assert part in text
