"""The captured graph in an artifact: for people, and for MLIR's own tools."""

GRAPH_NAME = "model.mlir"
"""In the dialect's own assembly."""
GENERIC_NAME = "model.generic.mlir"
"""In MLIR's generic form."""
DEFINITION_NAME = "sala.irdl.mlir"
"""The definition of the dialect in IRDL, which `mlir-opt --irdl-file` reads."""
