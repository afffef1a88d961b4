"""Short causal convolutions, column by column."""
