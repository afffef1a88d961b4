"""Clean samples, by the name that the programs of this folder use: see `runtime.timing`."""

from runtime.timing import INTERFERENCE_LIMIT, Sample, Summary, sample, summarise

__all__ = ["INTERFERENCE_LIMIT", "Sample", "Summary", "sample", "summarise"]
