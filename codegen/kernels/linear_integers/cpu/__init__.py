"""Products with integer weights, on the CPU."""
