"""What the scheduler owes its callers, and what it tells them."""
