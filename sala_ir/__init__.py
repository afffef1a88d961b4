"""The model as a graph: the `sala` dialect, the frontends, and what the graph means."""
