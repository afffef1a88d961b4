"""A product for every head with a matrix of its own."""
