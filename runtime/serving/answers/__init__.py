"""What clients see of an answer: its text in pieces, its tokens, and why it ended."""
