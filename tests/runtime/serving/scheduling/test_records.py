"""What the server says about itself: measures for dashboards, usage for people."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import sala_compile
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.scheduling.scheduler import Scheduler
from sala_compile.runtime.serving.scheduling.throughput import Throughput
from sala_compile.runtime.serving.work.measures import Measures
from tests.support.served_jobs import job, run


@pytest.fixture
def model(handmade: Path) -> Iterator[Model]:
    with sala_compile.load(handmade, threads=1, batch=2, prefix_cache="16KiB") as loaded:
        yield loaded


def _value(measures: Measures, name: str, **labels: str) -> float | None:
    return measures.registry.get_sample_value(f"sala_{name}", labels)


def test_jobs_are_counted(model: Model):
    now, measures = [0.0], Measures()
    scheduler = Scheduler(model.engine, clock=lambda: now[0], measures=measures)
    prompt = list(range(1, 11))
    first, _ = job(prompt, 3)
    late, told = job(prompt, 3)
    scheduler.add(first)
    scheduler.add(late)
    now[0] = 2.0
    scheduler.turn()
    assert _value(measures, "num_requests_running") == 1
    assert _value(measures, "num_requests_waiting") == 1, "it waits for what the first one reads"
    now[0] = 3.0
    run(scheduler)
    assert told.cached == 10
    assert _value(measures, "num_requests_running") == 0
    assert _value(measures, "prompt_tokens_total") == 20
    assert _value(measures, "prompt_tokens_cached_total") == 10
    assert _value(measures, "prefix_cache_queries_total") == 20
    assert _value(measures, "prefix_cache_hits_total") == 10
    assert _value(measures, "generation_tokens_total") == 6
    assert _value(measures, "request_success_total", finished_reason="length") == 2
    assert _value(measures, "prefix_cache_misses_total", reason="nothing is cached yet") == 1
    assert _value(measures, "request_queue_time_seconds_sum") == 2.0 + 3.0
    assert _value(measures, "time_to_first_token_seconds_count") == 2
    assert _value(measures, "inter_token_latency_seconds_count") == 4
    assert _value(measures, "e2e_request_latency_seconds_count") == 2
    assert _value(measures, "num_preemptions_total") == 0
    assert _value(measures, "cache_config_info", **_configuration(measures)) == 1


def _configuration(measures: Measures) -> dict[str, str]:
    [metric] = [each for each in measures.registry.collect() if each.name == "sala_cache_config"]
    return metric.samples[0].labels


def test_usage_says_what_is_held(model: Model):
    scheduler = Scheduler(model.engine)
    usage = scheduler.records.usage
    assert (usage["running"], usage["waiting"], usage["context"]) == (0, 0, model.context)
    one, _ = job(range(1, 11), 3)
    scheduler.add(one)
    scheduler.turn()
    scheduler.records.look({"running": 1, "waiting": 0, "parked": 0})
    usage = scheduler.records.usage
    pages = usage["memory"]["pools"]["kv"]
    assert 0 < pages["used"] == pages["total"] - pages["free_for_jobs"]
    run(scheduler)
    usage = scheduler.records.usage
    pages = usage["memory"]["pools"]["kv"]
    assert pages["free_for_jobs"] == pages["total"]
    assert pages["used"] > 0, "the prefix cache keeps some"
    assert usage["prefix_cache"]["entries"] > 0
    assert sum(usage["memory"]["parts"].values()) == usage["memory"]["planned_bytes"]


def test_throughput_is_that_of_the_last_seconds():
    throughput = Throughput(2.0)
    assert throughput.rates() == (0.0, 0.0)
    for _ in range(10):
        throughput.note(1.0, 0, 5)
    throughput.note(1.0, 100, 4)
    assert throughput.rates() == (50.0, 4.5)
