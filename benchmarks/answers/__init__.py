"""What a saving costs in answers: real texts, questions on long texts, and their tables."""
