"""The server's HTTP side: OpenAI's routes, their errors, what a request may cost."""
