"""The gated delta rule, on the CPU."""
