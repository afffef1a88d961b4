"""What a dumped graph says of itself, so that its compilation can be taken up again.

Attributes of the module: `sala.stage` (the last pass that ran), `sala.model` (facts of the config
that the graph does not show), `sala.options` (those of sala-compile that shaped it), `sala.paths`
(the attention paths, which kernel calls no longer show), `sala.checkpoint` (where the weights are).
Only `--dump-ir` and `--stop-after` write the last one: an artifact does not depend on a path.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute

from sala_compile.codegen.options import CompileOptions
from sala_compile.passes.assign_precision import AssignPrecision
from sala_compile.passes.quantize_activations import QuantizeActivations
from sala_compile.passes.round_pages import RoundPages
from sala_compile.passes.select_kernels import SelectKernels
from sala_compile.passes.set_page_size import SetPageSize
from sala_compile.passes.support.callbacks import CAPTURED
from sala_compile.runtime.artifact import AttentionPath
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect import attribute_of, plain
from sala_compile.sala_ir.frontends import ModelFacts

STAGE = "sala.stage"
MODEL = "sala.model"
OPTIONS = "sala.options"
PATHS = "sala.paths"
CHECKPOINT = "sala.checkpoint"

SHAPED_BY: Mapping[str, str] = {
    "attention": CAPTURED,
    "quantization": CAPTURED,
    "requantization": CAPTURED,
    "tied_head": CAPTURED,
    "rounding": CAPTURED,
    "dtype": AssignPrecision.name,
    "page_size": SetPageSize.name,
    "kv": RoundPages.name,
    "activations": QuantizeActivations.name,
    "target": SelectKernels.name,
}
"""Options that shape a graph, and the pass after which it has the shape."""


@dataclass(frozen=True, slots=True)
class GraphHeader:
    """What a graph says of itself; `options` by the names of `SHAPED_BY`, as texts."""

    stage: str = CAPTURED
    facts: ModelFacts | None = None
    options: Mapping[str, Any] | None = None
    paths: tuple[AttentionPath, ...] = ()
    checkpoint: Path | None = None

    def attributes(self, stage: str) -> dict[str, Attribute]:
        """The attributes of a module after `stage`."""
        found: dict[str, Any] = {STAGE: stage}
        if self.facts is not None:
            facts = asdict(self.facts)
            found[MODEL] = {key: value for key, value in facts.items() if value is not None}
        if self.options is not None:
            found[OPTIONS] = self.options
        found[PATHS] = [[path.first_length, path.name] for path in self.paths]
        if self.checkpoint is not None:
            found[CHECKPOINT] = str(self.checkpoint)
        return {key: attribute_of(value) for key, value in found.items()}


def shaped_by(options: CompileOptions) -> dict[str, Any]:
    """The options that shape a graph, the target aside, as texts and numbers."""
    names = (name for name in SHAPED_BY if name not in ("target", "page_size"))
    found: dict[str, Any] = {name: getattr(options, name).value for name in names}
    return found if options.page_size is None else found | {"page_size": options.page_size}


def take_header(module: ModuleOp, where: str) -> GraphHeader:
    """Read the header of a module and remove it; CompileError for one that is not well formed."""
    found: dict[str, Any] = {}
    for name in (STAGE, MODEL, OPTIONS, PATHS, CHECKPOINT):
        attribute = module.attributes.pop(name, None)
        if attribute is not None:
            found[name] = attribute
    try:
        values = {name: plain(attribute) for name, attribute in found.items()}
        facts = values.get(MODEL)
        place = values.get(CHECKPOINT)
        return GraphHeader(
            stage=str(values.get(STAGE, CAPTURED)),
            facts=None if facts is None else ModelFacts(**facts),
            options=values.get(OPTIONS),
            paths=tuple(
                AttentionPath(first_length=start, name=name)
                for start, name in values.get(PATHS, ())
            ),
            checkpoint=None if place is None else Path(place),
        )
    except (TypeError, ValueError) as error:
        raise CompileError(
            f"what the graph says of itself is not well formed: {error}",
            where=f"{where}: attributes of the module",
            expected=f"{STAGE}, {MODEL}, {OPTIONS}, {PATHS} as --dump-ir writes them",
            fix="take these attributes from a dumped graph, or leave them out",
        ) from None
