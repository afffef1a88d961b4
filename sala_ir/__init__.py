"""The model as a graph: the `sala` dialect, the frontends, and what the graph means."""

if __name__ != "sala_compile.sala_ir":  # a second copy would have error classes of its own
    raise ImportError("import it as sala_compile.sala_ir")
