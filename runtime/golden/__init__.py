"""Golden vectors run on this machine: comparisons, drawn states, checked kernels."""
