"""Pools of consecutive tokens, column by column."""
