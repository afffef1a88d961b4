"""Which jobs run in the next step, and the thread that runs them."""
