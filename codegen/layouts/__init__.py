"""How weights, activations and pools lie in memory: what kernels read and what is written."""
