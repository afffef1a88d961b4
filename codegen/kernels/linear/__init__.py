"""Matrix products with bias, SwiGLU, scale and residual."""
