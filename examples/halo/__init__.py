"""HALO: attention layers of a pre-trained Transformer become linear ones, end to end."""
