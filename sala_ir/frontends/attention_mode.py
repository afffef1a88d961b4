"""How the layers that the config calls sparse attend."""

from enum import StrEnum


class AttentionMode(StrEnum):
    """`config`: as the config says; `sparse`: sparse at any length; `dense`: all of the past."""

    CONFIG = "config"
    SPARSE = "sparse"
    DENSE = "dense"
