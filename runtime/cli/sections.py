"""The parts of what sala-inspect shows: each as a document for programs and a view for people."""

from collections import Counter
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from sala_compile.runtime.artifact import MODEL_PHASES, PhaseName
from sala_compile.runtime.artifact.reader import Artifact
from sala_compile.runtime.artifact.seeded import WARNING
from sala_compile.runtime.cli.common import table
from sala_compile.runtime.cli.gpu_code import code_views, launches_of
from sala_compile.runtime.common.units import format_bytes, format_tokens
from sala_compile.runtime.text.templates.chat import ChatTemplate
from sala_compile.runtime.text.tokenizer import TOKENIZER_FILE


@dataclass(frozen=True, slots=True)
class ReportSection:
    """One part: `document` is JSON under the key `name`, `views` are printed one by one."""

    name: str
    document: Any
    views: tuple[RenderableType, ...]


def manifest_section(artifact: Artifact) -> ReportSection:
    """What the artifact is, what it needs and what it was made with."""
    manifest = artifact.manifest
    facts = table(str(artifact.directory), "", "")
    facts.show_header = False
    for name, value in _facts(artifact).items():
        facts.add_row(name, value)
    passes = table(
        "\npasses", "pass", "ops before", "ops after", numbers=("ops before", "ops after")
    )
    for entry in manifest.passes:
        passes.add_row(entry.name, str(entry.before), str(entry.after))
    views = (facts, passes) if manifest.passes else (facts,)
    return ReportSection("manifest", manifest.model_dump(mode="json"), views)


def kernels_section(artifact: Artifact) -> ReportSection:
    """The kernels, how often each phase calls them, which rules were refused, and GPU code."""
    manifest, document = artifact.manifest, []
    calls, launches = _calls(artifact), launches_of(artifact)
    called = {phase for _, phase, _ in calls}
    columns = tuple(phase.value for phase in PhaseName if phase in MODEL_PHASES or phase in called)
    made = table("kernels", "kernel", "family", "rule", *columns, "refused", numbers=columns)
    for kernel in manifest.kernels:
        counts = {phase: calls[(kernel.target, phase, kernel.symbol)] for phase in columns}
        refusals = "\n".join(f"{entry.rule}: {entry.reason}" for entry in kernel.rejected)
        made.add_row(
            kernel.symbol, kernel.family, kernel.rule, *map(str, counts.values()), refusals
        )
        code = launches.get((kernel.target, kernel.symbol))
        known = {} if code is None else {"launches": code}
        document.append(kernel.model_dump(mode="json") | {"calls": counts} | known)
    return ReportSection("kernels", document, (made, *code_views(artifact)))


def _facts(artifact: Artifact) -> dict[str, str]:
    """The manifest in words, in the order in which they are read."""
    manifest = artifact.manifest
    sizes = ", ".join(f"{name} {size}" for name, size in manifest.model.sizes.items())
    steps = {
        name: ", ".join(
            f"{phase.value} {len(target.phases[phase].steps)}"
            for phase in PhaseName
            if phase in target.phases
        )
        for name, target in artifact.program.targets.items()
    }
    facts = {
        "model": f"{manifest.model.family}, vocabulary {manifest.model.vocabulary}",
        "sizes": sizes,
        "attention": manifest.attention,
        "dtype": manifest.dtype,
        "context": f"{format_tokens(manifest.context)} by default, prefill in chunks of "
        f"{format_tokens(manifest.chunk)}",
        "weights": f"{len(artifact.weights)} tensors, {format_bytes(artifact.weight_bytes)}",
        "warning": "" if manifest.seeded is None else WARNING,
        "quantized": str(manifest.quantization or ""),
        "activations": str(manifest.activations or ""),
        "keys and values": str(manifest.kv or ""),
        "text": _text_support(artifact),
        "answers end": ", ".join(f"at token {end}" for end in manifest.model.eos_token_ids),
        "golden": manifest.golden.kind if manifest.golden else "none",
        "format": str(manifest.format),
        "made by": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    }
    for name, info in manifest.targets.items():
        needs = ", ".join(info.instructions) or "nothing special"
        facts[f"target {name}"] = f"{info.mcpu}, {info.architecture}, needs {needs}"
        facts[f"steps {name}"] = steps.get(name, "none")
    return {name: value for name, value in facts.items() if value}


def _text_support(artifact: Artifact) -> str:
    if not artifact.has(TOKENIZER_FILE):
        return "no tokenizer: token ids only"
    template = ChatTemplate.exists(artifact)
    return "tokenizer and chat template" if template else "tokenizer"


def _calls(artifact: Artifact) -> Counter[tuple[str, str, str]]:
    """How often each kernel is called by (target, phase, symbol)."""
    return Counter(
        (target, phase.value, step.kernel)
        for target, program in artifact.program.targets.items()
        for phase, body in program.phases.items()
        for step in body.steps
    )


def verify_section(
    artifact: Artifact, *, threads: int, device: str | None = None
) -> tuple[ReportSection, bool]:
    """Every golden vector run here, and whether all hold."""
    from sala_compile.runtime.verify import VectorKind, verify_artifact  # loads the kernels

    report = verify_artifact(artifact, threads=threads, device=device)
    made = table("golden vectors", "vector", "kind", "largest difference", "result")
    document: list[dict[str, Any]] = []
    for result in report.results:
        verdict = "ok"
        if not result.passed:
            why = result.problem or f"{result.excess:.2g} more than allowed"
            verdict = f"FAILED, {why}"
        made.add_row(result.name, result.kind.value, f"{result.difference:.2e}", verdict)
        numbers = {"difference": _finite(result.difference), "excess": _finite(result.excess)}
        document.append(asdict(result) | numbers | {"passed": result.passed})
    logits = [entry.difference for entry in report.results if entry.kind is VectorKind.MODEL]
    worst = max(logits, default=None)
    sentence = _verdict(artifact, report.passed, len(report.results), worst)
    differs = None if worst is None else _finite(worst)
    whole = {"passed": report.passed, "logits_difference": differs, "vectors": document}
    return ReportSection("verify", whole, (made, Text(sentence))), report.passed


def _finite(value: float) -> float | None:
    """JSON has no infinity: None if a number was expected and none was found."""
    return value if isfinite(value) else None


def _verdict(artifact: Artifact, passed: bool, count: int, worst: float | None) -> str:
    if not count:
        return "the artifact has no golden vectors: nothing was compared"
    golden = artifact.manifest.golden
    source = "reference" if golden and golden.kind == "reference" else "compiling machine"
    logits = (
        f"; largest difference from the {source}'s logits: {worst:.2e}" if worst is not None else ""
    )
    return f"all files have their hashes; {'every' if passed else 'NOT every'} vector holds{logits}"
