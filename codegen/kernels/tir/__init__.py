"""How CPU kernels are written: a thin layer over TVM's IR builder, vector functions, elements."""
