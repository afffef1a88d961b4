"""Tools that a model may call, in the form that its chat template writes them."""
