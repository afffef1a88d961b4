"""Element-wise operations that no fusion has taken."""
