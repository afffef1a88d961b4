"""torch on the shapes of the linear benchmark: its linear, and its products with integers."""

from collections.abc import Callable, Sequence

import torch

from benchmarks.kernels.linear_cases import Case, Work, in_turn

TYPES = {"bf16": torch.bfloat16, "f32": torch.float32}
VALUE = 0.0078125


class TorchSide:
    """torch's operators on the same shapes; its 8-bit integers have one scale for a row.

    With an x of 8 bits that is rounded on the way, with one scale for all of it.
    """

    def __init__(self, threads: int, cases: Sequence[Case]) -> None:
        """Make the operands."""
        torch.set_num_threads(threads)
        with torch.inference_mode():
            self.works = {case.name: _works(case) for case in cases}
        self.scales: dict[str, int] = {}


def _works(case: Case) -> Work:
    x = torch.full((case.rows, case.depth), VALUE, dtype=TYPES[case.kind])
    make = {0: _plain, 4: _int4, 8: _int8 if case.x_bits == 16 else _dynamic}[case.bits]
    return in_turn([make(case, x) for _ in range(case.copies)])


def _plain(case: Case, x: torch.Tensor) -> Callable[[], object]:
    weight = torch.full((case.columns, case.depth), VALUE, dtype=x.dtype)
    return lambda: torch.nn.functional.linear(x, weight)


def _int4(case: Case, x: torch.Tensor) -> Callable[[], object]:
    codes = torch.full((case.columns, case.depth), 9, dtype=torch.int32)
    packed = torch._convert_weight_to_int4pack_for_cpu(codes, 2)
    scales = torch.full((case.depth // case.group, case.columns, 2), VALUE, dtype=x.dtype)
    return lambda: torch._weight_int4pack_mm_for_cpu(x, packed, case.group, scales)


def _int8(case: Case, x: torch.Tensor) -> Callable[[], object]:
    weight = torch.full((case.columns, case.depth), 9, dtype=torch.int8)
    scales = torch.full((case.columns,), VALUE, dtype=x.dtype)
    return lambda: torch._weight_int8pack_mm(x, weight, scales)


def _dynamic(case: Case, x: torch.Tensor) -> Callable[[], object]:
    x = x.to(torch.float32)
    weight = torch.full((case.columns, case.depth), 9 * VALUE)
    scales, zeros = torch.full((case.columns,), VALUE), torch.zeros(case.columns, dtype=torch.int64)
    stored = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(stored, None)
    return lambda: torch.ops.quantized.linear_dynamic(x, packed)
