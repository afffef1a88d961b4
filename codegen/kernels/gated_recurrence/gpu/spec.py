"""Constants and tiles of the kernels of a gated recurrence on a GPU."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.gated_recurrence import spec as recurrence
from sala_compile.codegen.kernels.triton.phase import TokenForm
from sala_compile.codegen.kernels.triton.products import Products
from sala_compile.codegen.kernels.triton.rows import power_of_two
from sala_compile.codegen.targets.cuda import CudaTarget

LEAST = 16
"""Rows or columns of the smallest matrix product."""
BLOCK = 16
"""Tokens between which decays by row are multiplied one by one."""
PLANES = 3
"""Prepared rows of a token and head where decays are vectors: queries, keys, keys to the end."""
LARGEST_KEY = 256
"""Rows of a state that a program holds."""


@dataclass(frozen=True, slots=True)
class Spec(recurrence.Spec):
    """What the kernel is compiled for: as on the CPU, the form and the products."""

    form: TokenForm = TokenForm.CHUNKS
    products: Products = Products.IEEE

    @property
    def label(self) -> str:
        """The family, the main sizes and the form, for names."""
        heads = f"h{self.num_heads}_kh{self.key_heads}"
        kind = "channels" if self.channel_decay else self.rule
        return f"gated_{kind}_{heads}_k{self.key_dim}_v{self.value_dim}_{self.form}"

    @property
    def lanes(self) -> int:
        """Lanes that hold a key."""
        return power_of_two(self.key_dim, LEAST)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tokens of a chunk; programs take `columns` of the values, `part` rows of a state at a time.

    Those that find the matrices of a chunk have `matrix_warps`.
    """

    chunk: int
    columns: int
    part: int
    warps: int = 4
    matrix_warps: int = 4


def place_of(spec: Spec, schedule: Schedule) -> int:
    """Floats of a chunk of a head: two matrices, then vectors of tokens, or of rows of a state."""
    vectors = schedule.chunk + spec.key_dim if spec.channel_decay else 5 * schedule.chunk
    return 2 * schedule.chunk**2 + -(-vectors // LEAST) * LEAST


def default_tiles(spec: Spec, target: CudaTarget) -> Schedule:
    """Tiles that leave values in registers; whatever they are, chunks end at multiples of 64."""
    width = power_of_two(spec.value_dim, LEAST)
    if spec.form is TokenForm.STEP:
        return Schedule(1, min(width, 32 if spec.lanes <= 128 else 16), 0)
    if spec.products is Products.IEEE:
        return Schedule(16, min(width, 32), 16)
    return Schedule(32, min(width, 32), 32)
