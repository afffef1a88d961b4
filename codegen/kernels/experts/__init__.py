"""The products of the experts that tokens have chosen."""
