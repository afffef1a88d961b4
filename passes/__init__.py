"""Module to module: rewrites of the graph, in the order of `pipeline.py`."""
