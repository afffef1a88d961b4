"""Where kernels run: processors and GPUs, through one protocol."""
