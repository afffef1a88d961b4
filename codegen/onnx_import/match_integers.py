"""Weights of integers in a foreign graph: those of products, and those that a row is taken of."""

from onnx import NodeProto

from sala_compile.codegen.onnx_import.found_decoder import FoundIntegers
from sala_compile.codegen.onnx_import.graph_view import GraphView
from sala_compile.codegen.onnx_import.grouped_integers import grouped_integers
from sala_compile.sala_ir.checkpoint.safetensors_file import CheckpointTensor

LEAST_GROUP = 16
WITHOUT_EFFECT = ("accuracy_level",)
"""How precise a runtime has to be with activations: ours are floats."""
SIZES = ("K", "N", "bits", "block_size")


def match_integers(view: GraphView, node: NodeProto) -> tuple[FoundIntegers, str]:
    """The weight [N, K] of a `MatMulNBits`, and the name of its bias or none."""
    sizes = view.attributes(node)
    for name, value in sizes.items():
        if name not in (*SIZES, *WITHOUT_EFFECT) and value:
            raise view.refuse(node, f"{name} is {value}", "codes in the plain layout")
    inputs = [*node.input, *[""] * 6]
    if inputs[4]:
        raise view.refuse(node, f"columns are grouped by {inputs[4]}", "groups of neighbours")
    shape = sizes["N"], sizes["K"]
    return _integers(view, node, shape, sizes["bits"], tuple(inputs[1:4])), inputs[5]


def match_first_columns(view: GraphView, node: NodeProto) -> tuple[str, int]:
    """The value of which a `Slice` takes the first columns, and how many."""
    starts, ends, axes, *steps = (view.constant(name) for name in node.input[1:] if name)
    found = [None if each is None else each.tolist() for each in (starts, axes, *steps)]
    if ends is None or ends.size != 1 or found not in ([[0], [-1]], [[0], [-1], [1]]):
        raise view.refuse(node, f"it takes other parts: {found}", "the first columns")
    return node.input[0], int(ends.item())


def match_integer_rows(view: GraphView, node: NodeProto, columns: int | None) -> FoundIntegers:
    """The weight whose rows a `GatherBlockQuantized` takes, with so many columns or all of them.

    Its codes may be those of a product, reshaped.
    """
    sizes = view.attributes(node)
    view.require(node, {"gather_axis": 0, "quantize_axis": 1})
    codes = node.input[0]
    if view.is_made_by(codes, "Reshape"):
        codes = view.take(codes, "Reshape").input[0]
    stored = _stored(view, node, codes)
    bits = sizes.get("bits", 4)
    if len(stored.shape) != 3 or bits not in (4, 8):
        raise view.refuse(node, f"{codes} has {len(stored.shape)} axes", "rows, groups, bytes")
    rows, groups, size = stored.shape
    shape = rows, columns or groups * size * 8 // bits
    return _integers(view, node, shape, bits, (codes, *node.input[2:4]))


def _integers(
    view: GraphView,
    node: NodeProto,
    shape: tuple[int, int],
    bits: int,
    parts: tuple[str, ...],
) -> FoundIntegers:
    group = view.attributes(node)["block_size"]
    if bits not in (4, 8):
        raise view.refuse(node, f"the integers have {bits} bits", "4 or 8 bits")
    if group < LEAST_GROUP or group & (group - 1):
        raise view.refuse(node, f"groups have {group} columns", "a power of two, 16 or more")
    if min(shape) < 1:
        raise view.refuse(node, f"the weight is {list(shape)}", "rows and columns")
    codes, scales, *zeros = (_stored(view, node, name) for name in parts if name)
    return FoundIntegers(grouped_integers(codes.name, shape, bits, group, codes, scales, *zeros))


def _stored(view: GraphView, node: NodeProto, name: str) -> CheckpointTensor:
    found = view.file.tensors.get(name)
    if found is None:
        raise view.refuse(node, f"{name} is no stored tensor", "codes, scales and zeros")
    return found
