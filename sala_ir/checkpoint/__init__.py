"""Checkpoints, read tensor by tensor."""
