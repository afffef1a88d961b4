"""What dashboards read: Prometheus metrics of one server, under the names that they know."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

_PREFIX = "sala"
_STEP_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2.5, 5)
_LONG_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560)


class Measures:
    """The metrics, in a registry of their own: two servers of one process share none."""

    def __init__(self) -> None:
        """All are 0."""
        self.registry = CollectorRegistry()
        self.running = self._gauge("num_requests_running", "Choices that are read or answered")
        self.waiting = self._gauge("num_requests_waiting", "Choices in the queue")
        self.parked = self._gauge("num_requests_parked", "Preempted choices that will continue")
        self.pages_used = self._gauge(
            "kv_cache_usage_perc",
            "Share of KV pages that sequences hold, from 0 to 1; what only the prefix cache holds "
            "counts as free",
        )
        self.states_used = self._gauge(
            "state_cache_usage_perc", "Share of recurrent states that sequences hold, from 0 to 1"
        )
        self.snapshots_used = self._gauge(
            "snapshot_usage_perc", "Share of the snapshots for kept prefixes in use, from 0 to 1"
        )
        self.cached = self._gauge("prefix_cache_tokens", "Tokens of all kept prefixes")
        self.queries = self._counter("prefix_cache_queries", "Prompt tokens that were looked up")
        self.hits = self._counter("prefix_cache_hits", "Prompt tokens that were not read again")
        self.misses = self._counter(
            "prefix_cache_misses", "Prompts of which nothing was reused, by reason", "reason"
        )
        self.evictions = self._counter("prefix_cache_evictions", "Prefixes that made room")
        self.directory_bytes = self._gauge("prefix_directory_bytes", "Bytes in --prefix-dir")
        self.directory_entries = self._gauge("prefix_directory_entries", "Prefixes in it")
        self.directory_hits = self._counter("prefix_directory_hits", "Prefixes that came from it")
        self.directory_tokens = self._counter("prefix_directory_hit_tokens", "Their tokens")
        self.directory_written = self._counter("prefix_directory_written", "Files written to it")
        self.directory_evictions = self._counter(
            "prefix_directory_evictions", "Files that made room for others"
        )
        self.directory_failures = self._counter(
            "prefix_directory_failures", "Prefixes that were not kept or not read", "reason"
        )
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens of prompts")
        self.cached_tokens = self._counter("prompt_tokens_cached", "Those not read again")
        self.answer_tokens = self._counter("generation_tokens", "Tokens of answers")
        self.drafted_tokens = self._counter(
            "spec_decode_num_draft_tokens", "Tokens that were drafted"
        )
        self.accepted_tokens = self._counter(
            "spec_decode_num_accepted_tokens", "Those of them that were right"
        )
        self.preemptions = self._counter(
            "num_preemptions", "Times that a choice gave its memory to an older one"
        )
        self.ends = self._counter(
            "request_success", "Choices that ended, by reason", "finished_reason"
        )
        self.failed_steps = self._counter("failed_steps", "Steps that the device failed")
        self.first_token = self._histogram(
            "time_to_first_token_seconds", "From arrival to the first token", _LONG_SECONDS
        )
        self.between_tokens = self._histogram(
            "inter_token_latency_seconds", "Between tokens of a choice", _STEP_SECONDS
        )
        self.whole = self._histogram(
            "e2e_request_latency_seconds", "From arrival to the end of a choice", _LONG_SECONDS
        )
        self.queued = self._histogram(
            "request_queue_time_seconds", "From arrival until reading begins", _LONG_SECONDS
        )
        self.step = self._histogram("step_seconds", "Steps of the model", _STEP_SECONDS)
        self.configuration = Info(
            f"{_PREFIX}_cache_config", "What was planned at the start", registry=self.registry
        )

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...]) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", text, buckets=bounds, registry=self.registry)
