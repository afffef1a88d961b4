"""A picture of a model: its layers, their kernels, and what they keep of a sequence."""
