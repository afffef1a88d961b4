"""Writing the keys and values of new tokens into their pages."""
