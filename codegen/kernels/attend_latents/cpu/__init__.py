"""Attention to latents, on the CPU."""
