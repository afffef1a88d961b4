"""A graph from a file: where its compilation begins, and the options that already shaped it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp

from sala_compile.codegen.graph_header import SHAPED_BY, GraphHeader, take_header
from sala_compile.codegen.options import CompileOptions, WeightRounding
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.merge_projections import MergeProjections
from sala_compile.passes.pipeline import pass_names
from sala_compile.passes.quantize_activations import Activations
from sala_compile.passes.round_pages import PageStorage
from sala_compile.passes.specialise_phases import SpecialisePhases
from sala_compile.passes.support.callbacks import CAPTURED
from sala_compile.passes.support.quantization import Quantization, TiedHead
from sala_compile.runtime.artifact import MODEL_PHASES
from sala_compile.runtime.errors import CompileError, RequestError
from sala_compile.sala_ir.dialect import EncodingAttr, WeightOp, weight_type
from sala_compile.sala_ir.frontends import AttentionMode
from sala_compile.sala_ir.graph_file import read_graph

_KINDS: Mapping[str, type] = {
    "attention": AttentionMode,
    "quantization": Quantization,
    "requantization": Quantization,
    "tied_head": TiedHead,
    "rounding": WeightRounding,
    "dtype": Precision,
    "activations": Activations,
    "page_size": int,
    "kv": PageStorage,
}
_SPELLED = {"quantization": "--quantize", "requantization": "--requantize"}
"""Options whose name on the command line is another."""


@dataclass(frozen=True, slots=True)
class EditedGraph:
    """The module of a file without its header, and the header."""

    path: Path
    module: ModuleOp
    header: GraphHeader

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """The tensors of the checkpoint that the graph reads, and their shapes."""
        return {name: shape for op in self._weights for name, shape in op.tensors.items()}

    @property
    def integers(self) -> dict[str, EncodingAttr]:
        """The tensors that the graph takes as integers."""
        kinds = {
            name: weight_type(op.result).encoding for op in self._weights for name in op.tensors
        }
        return {name: encoding for name, encoding in kinds.items() if not encoding.is_plain}

    @property
    def _weights(self) -> list[WeightOp]:
        return [op for op in self.module.walk() if isinstance(op, WeightOp)]

    def reached(self, stage: str) -> bool:
        """Whether the pass of that name has already run."""
        order = [CAPTURED, *pass_names()]
        return order.index(stage) <= order.index(self.header.stage)

    def options(self, requested: CompileOptions) -> CompileOptions:
        """The options of its compilation: those that shaped it, and what is requested of the rest.

        RequestError where one that shaped it is requested otherwise.
        """
        found: dict[str, Any] = {}
        for name, text in (self.header.options or {}).items():
            if name not in SHAPED_BY:
                continue
            field = "targets" if name == "target" else name
            value = (str(text),) if name == "target" else self._value(name, text)
            if field in requested.given:
                wanted = getattr(requested, field)
                if wanted != value and self.reached(SHAPED_BY[name]):
                    raise self._contradiction(name, text)
            elif name != "target" or self.reached(SHAPED_BY[name]):
                found[field] = value
        if requested.checkpoint is None and not requested.is_random:
            found["checkpoint"] = self._checkpoint(requested)
        options = replace(requested, **found)
        self._check_rounding(options)
        return options

    def _value(self, name: str, text: Any) -> Any:
        try:
            return _KINDS[name](text)
        except ValueError:
            raise CompileError(
                f"the graph says that it was made with {_flag(name)} {text}",
                where=str(self.path),
                expected="an option of this version of sala-compile",
                fix="correct sala.options in the attributes of the module",
            ) from None

    def _contradiction(self, name: str, text: Any) -> RequestError:
        return RequestError(
            f"the graph was made with {_flag(name)} {text}",
            where=f"{self.path}: {_flag(name)}",
            expected=f"the same, or a graph from before the pass {SHAPED_BY[name]}",
            fix=f"leave {_flag(name)} out, or begin with an earlier file of --dump-ir",
        )

    def _checkpoint(self, requested: CompileOptions) -> Path | None:
        place = self.header.checkpoint
        if place is None and requested.writes:
            raise RequestError(
                "the graph names no checkpoint",
                where=f"{self.path}: sala.checkpoint",
                expected="a graph that --dump-ir wrote, which names the checkpoint that it is of",
                fix="add --weights DIR, or --weights random",
            )
        return place

    def _check_rounding(self, options: CompileOptions) -> None:
        """A calibration text rounds the weights of linears before they are merged."""
        if (
            options.writes
            and options.calibrates
            and self.integers
            and self.reached(MergeProjections.name)
        ):
            raise RequestError(
                "weights that a calibration text rounds are rounded before they are merged",
                where=str(self.path),
                expected=f"a graph from before the pass {MergeProjections.name}",
                fix="begin with an earlier file of --dump-ir, or dump one with --rounding nearest",
            )


def _flag(name: str) -> str:
    return _SPELLED.get(name, "--" + name.replace("_", "-"))


def open_graph(path: Path) -> EditedGraph:
    """Read a graph; CompileError with file and line for what is not valid."""
    module = read_graph(path)
    header = take_header(module, str(path))
    names = (CAPTURED, *pass_names())
    if header.stage not in names:
        raise CompileError(
            f'the graph is from after a pass "{header.stage}"',
            where=f"{path}: sala.stage",
            expected=f"one of {', '.join(names)}",
            fix="correct sala.stage in the attributes of the module",
        )
    graph = EditedGraph(path, module, header)
    phases = graph.reached(SpecialisePhases.name)
    needed = [phase.value for phase in MODEL_PHASES] if phases else ["step"]
    functions = {op.sym_name.data for op in module.ops if isinstance(op, FuncOp)}
    missing = [name for name in needed if name not in functions]
    if missing:
        raise CompileError(
            f"the graph has no function @{missing[0]}",
            where=str(path),
            expected=f"{', '.join('@' + name for name in needed)} after {header.stage}",
            fix="take the functions from a file that --dump-ir wrote after the same pass",
        )
    return graph
