"""Module to module: rewrites of the graph, in the order of `pipeline.py`."""

if __name__ != "sala_compile.passes":  # a second copy would have error classes of its own
    raise ImportError("import it as sala_compile.passes")
