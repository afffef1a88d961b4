"""Where kernels run: processors and GPUs behind one protocol."""
