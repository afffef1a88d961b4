"""Answers with drafted tokens beside answers without, on committed texts."""
