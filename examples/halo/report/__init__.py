"""The report of a conversion: one page with pictures."""
