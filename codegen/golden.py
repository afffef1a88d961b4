from runtime.artifact import GoldenKind
def write_golden(*a): return GoldenKind(kind="reference")
