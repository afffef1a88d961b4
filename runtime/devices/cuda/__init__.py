"""GPUs of NVIDIA as devices, through the driver alone."""
