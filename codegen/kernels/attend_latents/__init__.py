"""Attention to latents: one row of a token is key and value of all heads."""
