"""Hashed n-grams with whole numbers of Python, token by token."""

from collections.abc import Sequence


def rows_by_hand(
    text: Sequence[int], multipliers: Sequence[int], sizes: Sequence[int], end: int
) -> list[list[int]]:
    """The rows of every head for every token of a whole text."""
    heads, found = len(sizes) // (len(multipliers) - 1), []
    for t in range(len(text)):
        start = max((i + 1 for i in range(t) if text[i] == end), default=0)
        back = [text[t - j] if t - j >= start else end for j in range(len(multipliers))]
        products = [signed(x * m) for x, m in zip(back, multipliers, strict=True)]
        rows: list[int] = []
        for order in range(2, len(multipliers) + 1):
            mixed = products[0]
            for product in products[1:order]:
                mixed ^= product
            for head in range((order - 2) * heads, (order - 1) * heads):
                rows.append(mixed % sizes[head] + sum(sizes[:head]))
        found.append(rows)
    return found


def signed(value: int) -> int:
    """What is left of a whole number in 64 bits."""
    return (value + 2**63) % 2**64 - 2**63
