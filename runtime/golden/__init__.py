"""Golden vectors run on this machine: comparisons, drawn states, steps whose kernels are held."""
