"""From a checkpoint's tensors to the layouts that kernels read."""
