"""The stages of a conversion, in the order of their numbers."""
