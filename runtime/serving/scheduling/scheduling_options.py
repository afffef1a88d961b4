"""What whoever starts a server decides about its jobs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchedulingOptions:
    """`max_stall` are the most seconds that a running answer waits for a step that reads prompts.

    `queue` are the most jobs that wait. The states of jobs that gave their memory to others go to
    a folder of their own within `parking`; None takes that of temporary files.
    """

    max_stall: float = 0.25
    queue: int = 256
    parking: str | None = None
