"""The model's file: a lowered graph, where its weights lie, and what it was made of."""

from collections.abc import Mapping
from functools import cache

from onnx import ModelProto, TensorProto, defs, helper

from sala_compile.codegen.onnx_export.lower import LoweredModel

DOMAINS = {"sala": 1, "com.microsoft": 1}
"""Versions of the domains besides the default one."""
PRODUCER = "sala-compile"


def onnx_model(
    lowered: LoweredModel,
    location: str,
    places: Mapping[str, tuple[int, int]],
    *,
    version: str,
    description: str,
    metadata: Mapping[str, str],
) -> ModelProto:
    """The whole model; `places` are offset and length of each weight in the file `location`."""
    model = ModelProto()
    imports = [helper.make_opsetid("", _opset(lowered))]
    used = {node.domain for node in lowered.graph.node} | {f.domain for f in lowered.functions}
    used |= {node.domain for function in lowered.functions for node in function.node}
    imports += [helper.make_opsetid(name, DOMAINS[name]) for name in sorted(used - {""})]
    model.opset_import.extend(imports)
    model.ir_version = helper.find_min_ir_version_for(imports, ignore_unknown=True)
    model.producer_name, model.producer_version = PRODUCER, version
    model.doc_string = description
    model.graph.CopyFrom(lowered.graph)
    for tensor in lowered.weights:
        spec = tensor.spec
        proto = model.graph.initializer.add(
            name=spec.name, data_type=tensor.tensor_type, dims=spec.shape
        )
        proto.data_location = TensorProto.EXTERNAL
        offset, length = places[spec.name]
        for key, value in (("location", location), ("offset", offset), ("length", length)):
            proto.external_data.add(key=key, value=str(value))
    versions = {each.domain: each.version for each in imports}
    for function in lowered.functions:
        copy = model.functions.add()
        copy.CopyFrom(function)
        for each in copy.opset_import:  # a model and its functions agree on versions
            each.version = versions[each.domain]
    helper.set_model_props(model, dict(metadata))
    return model


def _opset(lowered: LoweredModel) -> int:
    """The first version of the default domain with every operator: older runtimes take more.

    At least 23, of which `Attention`, `RMSNormalization` and `RotaryEmbedding` are.
    """
    nodes = [*lowered.graph.node, *(n for f in lowered.functions for n in f.node)]
    versions = _first_versions()
    return max(23, *(versions[node.op_type] for node in nodes if not node.domain))


@cache
def _first_versions() -> Mapping[str, int]:
    """The version of the default domain that each operator came with."""
    found: dict[str, int] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            found[schema.name] = min(schema.since_version, found.get(schema.name, 1 << 30))
    return found
