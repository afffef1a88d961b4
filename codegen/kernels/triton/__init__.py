"""What the GPU kernels share: how a kernel is described, and device functions."""
