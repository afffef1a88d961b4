"""Ray Serve's request router for engines: requests go where the beginning of their prompt lies.

Ray constructs it, in each process that has a handle of the engines, and calls it on one loop.
"""

from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from sala_compile.runtime.serving.ray.held_pages import unpacked_digests
from sala_compile.runtime.serving.ray.replica_choice import ChoiceRule, ReplicaChoice

PAGES, TO = "pages", "to"
"""Keywords of a call: the short digests of its prompt's pages, and the one replica that it is for.
"""
HELD, VERSION = "held", "version"
"""Routing statistics of a replica: the short digests that it holds, and what changes with them."""


class PrefixRouter(RequestRouter):
    """Ranks replicas by what they publish, by what was sent to them, and by their queues."""

    def initialize_state(self, **kwargs: Any) -> None:
        """The fields of a ChoiceRule."""
        self._choice = ReplicaChoice(ChoiceRule(**kwargs))
        self._open: dict[str, int] = {}

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Groups of replicas, the best first; none while the one that a call is for is not there.

        Ray takes of a group the replica with the shortest queue, of the next one if all are full.
        """
        by_name = {_name(replica.replica_id): replica for replica in candidate_replicas}
        given: dict[Any, Any] = {} if pending_request is None else pending_request.kwargs
        to = given.get(TO)
        if to is not None:
            return [[by_name[to]]] if to in by_name else [[*by_name.values()]]
        queues = {name: self._queue(replica.replica_id) for name, replica in by_name.items()}
        ranked = self._choice.rank(unpacked_digests(given.get(PAGES, b"")), queues)
        return [[by_name[name] for name in group] for group in ranked]

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Note which replicas there are, and what they publish."""
        names = [_name(replica.replica_id) for replica in replicas]
        self._choice.retain(names)
        self._open = {name: self._open.get(name, 0) for name in names}
        for name, replica in zip(names, replicas, strict=True):
            found = replica.routing_stats
            if HELD in found:
                self._choice.publish(name, unpacked_digests(found[HELD]), found.get(VERSION))
        super().update_replicas(replicas)

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """Forget a replica at once."""
        self._choice.drop(_name(replica_id))
        self._open.pop(_name(replica_id), None)
        super().on_replica_actor_died(replica_id)

    def on_request_routed(
        self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any
    ) -> None:
        """Note that a replica will hold the pages of a request."""
        name = _name(replica_id)
        pages: bytes = pending_request.kwargs.get(PAGES, b"")
        self._choice.sent(name, unpacked_digests(pages))
        self._open[name] = self._open.get(name, 0) + 1

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Note that a replica has a request less."""
        name = _name(replica_id)
        if self._open.get(name):
            self._open[name] -= 1

    def _queue(self, replica_id: ReplicaID) -> int:
        """Requests of a replica: those of this process, or what the replica said of all."""
        said = self.replica_queue_len_cache.get(replica_id) or 0
        return max(said, self._open.get(_name(replica_id), 0))


def _name(replica_id: ReplicaID) -> str:
    return replica_id.unique_id
