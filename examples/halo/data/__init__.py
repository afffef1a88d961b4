"""Where the tokens of a conversion come from."""
