"""Loads compiled artifacts and runs them; needs no compiler and none of its libraries."""

if __name__ != "sala_compile.runtime":  # a second copy would have error classes of its own
    raise ImportError("import it as sala_compile.runtime")
