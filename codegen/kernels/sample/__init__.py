"""A token from every row of logits, chosen where the logits are."""
