"""Executes the PTX that Triton makes, and reports what is not ordered or not waited for."""
