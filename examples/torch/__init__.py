"""The captured graph of a model as a torch module."""
