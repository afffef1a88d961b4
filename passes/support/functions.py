"""Functions of a module: looking them up, their named arguments, copies of a part of one."""

from collections.abc import Mapping, Sequence

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Region, SSAValue
from xdsl.transforms.dead_code_elimination import region_dce

STEP = "step"
"""The captured function."""

HIDDEN = "hidden"
"""The residual stream that crosses from the trunk of the model to its logits."""


def find_function(module: ModuleOp, name: str) -> FuncOp | None:
    """The function of that name, if the module has one."""
    functions = (op for op in module.ops if isinstance(op, FuncOp))
    return next((func for func in functions if func.sym_name.data == name), None)


def argument_names(func: FuncOp) -> dict[SSAValue, str]:
    """The `sala.name` of every argument."""
    marks = func.arg_attrs.data if func.arg_attrs is not None else ()
    names: dict[SSAValue, str] = {}
    for argument, mark in zip(func.body.block.args, marks, strict=True):
        name = mark.data["sala.name"]
        assert isinstance(name, StringAttr)
        names[argument] = name.data
    return names


def returned(func: FuncOp) -> tuple[SSAValue, ...]:
    """The values that a function returns."""
    last = func.body.block.last_op
    assert isinstance(last, ReturnOp), "a step ends with its return"
    return tuple(last.arguments)


def copy_part(
    func: FuncOp, name: str, results: Sequence[SSAValue], cuts: Mapping[SSAValue, str]
) -> FuncOp:
    """A function that computes `results` of `func` from its arguments and from `cuts`.

    Every value in `cuts` becomes an argument of that name, before the arguments of `func` that
    are still needed. What the results do not depend on is left out.
    """
    names = argument_names(func)
    block = Block(arg_types=[value.type for value in (*cuts, *names)])
    known: dict[SSAValue, SSAValue] = dict(zip((*cuts, *names), block.args, strict=True))
    for source, argument in known.items():
        argument.name_hint = source.name_hint
    _copy_body(func, block, known)
    block.add_op(ReturnOp(*(known[value] for value in results)))
    region = Region([block])
    region_dce(region)
    labels = dict(zip(block.args, (*cuts.values(), *names.values()), strict=True))
    for argument in list(block.args):
        if argument.first_use is None:
            del labels[argument]
            block.erase_arg(argument)
    return _function(name, region, list(labels.values()))


def _copy_body(func: FuncOp, block: Block, known: dict[SSAValue, SSAValue]) -> None:
    """Append copies of all operations but the return; `known` maps old values to new ones."""
    for op in func.body.block.ops:
        if isinstance(op, ReturnOp):
            continue
        copy = op.clone(value_mapper=dict(known))
        block.add_op(copy)
        for old, new in zip(op.results, copy.results, strict=True):
            new.name_hint = old.name_hint
            known.setdefault(old, new)


def _function(name: str, region: Region, labels: Sequence[str]) -> FuncOp:
    last = region.block.last_op
    assert isinstance(last, ReturnOp)
    inputs = [argument.type for argument in region.block.args]
    outputs = [value.type for value in last.arguments]
    marks = [DictionaryAttr({"sala.name": StringAttr(label)}) for label in labels]
    return FuncOp(name, (inputs, outputs), region, arg_attrs=ArrayAttr(marks))
