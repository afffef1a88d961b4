"""An old commit compared with the working tree: bits and speed."""
