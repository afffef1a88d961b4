"""Matrix products with weights that are stored as integers and scales."""
