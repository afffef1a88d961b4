"""Kernels, packed weights and the artifact: from a module of kernel calls to files."""

if __name__ != "sala_compile.codegen":  # a second copy would have error classes of its own
    raise ImportError("import it as sala_compile.codegen")
