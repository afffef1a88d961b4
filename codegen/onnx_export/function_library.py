"""Functions of the domain `sala`, of which a model holds those that it calls."""

from importlib.resources import files

from onnx import FunctionProto, parser

DOMAIN = "sala"
_FOLDER = files("sala_compile.codegen.onnx_export") / "functions"


def parse(name: str) -> FunctionProto:
    """A function of the domain, by its name, from ONNX's text form.

    Lines that begin with # are for people; those before the code are its description.
    """
    comment, start, code = (_FOLDER / f"{name}.onnx.txt").read_text().partition("<domain")
    kept = (line for line in code.splitlines() if not line.lstrip().startswith("#"))
    function = parser.parse_function(start + "\n".join(kept))
    lines = (line.removeprefix("#").strip() for line in comment.splitlines())
    function.doc_string = "\n".join(lines)
    return function


class FunctionLibrary:
    """The functions that a graph calls, and those that these call."""

    def __init__(self) -> None:
        self.used: dict[str, FunctionProto] = {}

    def use(self, name: str) -> str:
        """Keep a function and what it calls; its name."""
        if name not in self.used:
            function = parse(name)
            for node in function.node:
                if node.domain == DOMAIN:
                    self.use(node.op_type)
            self.used[name] = function
        return name
