"""Which of an artifact's targets runs on this machine."""

from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.errors import ArtifactError

CPU = "cpu"


def choose_target(artifact: Artifact, name: str | None = None) -> str:
    """The target `name`, or the CPU target that uses the most of this processor's instructions.

    ArtifactError if this machine can execute none of them, before any library is opened.
    """
    if name is not None:
        artifact.target(name)
        return name
    runnable = runnable_targets(artifact)
    if runnable:
        return max(runnable, key=lambda each: len(artifact.manifest.targets[each].instructions))
    artifact.target(min(cpu_targets(artifact), default=CPU))
    raise AssertionError("a target that cannot run was not refused")


def cpu_targets(artifact: Artifact) -> list[str]:
    """The names of the targets for processors, in order."""
    return sorted(name for name in artifact.program.targets if name.split(":")[0] == CPU)


def runnable_targets(artifact: Artifact) -> list[str]:
    """The CPU targets whose libraries this machine can execute."""
    return [name for name in cpu_targets(artifact) if _runs(artifact, name)]


def _runs(artifact: Artifact, name: str) -> bool:
    try:
        artifact.target(name)
    except ArtifactError:
        return False
    return True
