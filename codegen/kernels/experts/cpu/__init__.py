"""Products of chosen experts, on the CPU."""
