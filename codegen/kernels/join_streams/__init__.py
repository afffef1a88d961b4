"""Residual streams that a block reads as one."""
