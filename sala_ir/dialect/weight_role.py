"""What a weight is for, where an error in it costs more than elsewhere: declared by frontends."""

from __future__ import annotations

from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import SpacedOpaqueSyntaxAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.utils.str_enum import StrEnum

from sala_compile.sala_ir.dialect.parameters import KeywordParameter


class WeightRole(StrEnum):
    """What the product of a weight and an activation is read for."""

    PROJECTION = "projection"
    """None of the following."""
    OUTPUT_GATE = "output_gate"
    """It passes a sigmoid and multiplies the output of a mixer."""
    BLOCK_SELECTION = "block_selection"
    """Queries and keys whose products choose what is read of the past."""
    RECALL = "recall"
    """Queries and keys of the few layers of a hybrid that attend to all of the past."""
    DECAY = "decay"
    """How fast a recurrent state forgets, and how much of a value it takes: a number per head."""
    ROUTING = "routing"
    """Scores by which experts are chosen, or gates of whole experts: a number per expert."""
    STREAMS = "streams"
    """How a block reads residual streams, adds to them and mixes them: numbers per stream."""
    HEAD = "head"
    """The logits."""

    @property
    def is_sensitive(self) -> bool:
        """Whether an error is multiplied, by a whole head's output, through a selection or a search
        of a long past, or is that of the logits themselves."""
        return self is not WeightRole.PROJECTION

    @property
    def label(self) -> str:
        """One in words: `output gate`."""
        return self.value.replace("_", " ")

    @property
    def plural(self) -> str:
        """All of them in words."""
        return _PLURALS[self]


_PLURALS = {
    WeightRole.PROJECTION: "linears of the layers",
    WeightRole.OUTPUT_GATE: "output gates",
    WeightRole.BLOCK_SELECTION: "q and k that choose blocks",
    WeightRole.RECALL: "q and k that recall",
    WeightRole.DECAY: "decays and rates",
    WeightRole.ROUTING: "routers",
    WeightRole.STREAMS: "connections of streams",
    WeightRole.HEAD: "head",
}


@irdl_attr_definition
class WeightRoleAttr(KeywordParameter, EnumAttribute[WeightRole], SpacedOpaqueSyntaxAttribute):
    """`#sala<weight_role output_gate>`."""

    name = "sala.weight_role"
