"""Loads compiled artifacts and runs them; needs no compiler and none of its libraries."""
