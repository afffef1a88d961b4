"""Golden vectors: sequences over drawn states, and what the reference makes of them."""
