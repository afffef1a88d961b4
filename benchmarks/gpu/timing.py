"""Medians of device time, and the ceilings of the device, measured with torch."""

import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.gpu.roofline import Ceilings

WARM_UPS = 3
COPY_BYTES = 4 << 30
PRODUCT_SIZE = 8192
EXPONENTIALS_PER_CYCLE = 16


def median_seconds(work: Callable[[int], object], *, seconds: float = 0.3, most: int = 50) -> float:
    """Median device time of `work(i)`, i rising, measured with events one call at a time.

    `work` rotates among its inputs by `i`, so that a cache does not hold them.
    """
    for index in range(WARM_UPS):
        work(index)
    if not torch.cuda.is_available():
        return _host_median(work, most)
    torch.cuda.synchronize()
    end = time.perf_counter() + seconds
    times: list[float] = []
    while len(times) < 5 or (len(times) < most and time.perf_counter() < end):
        begin, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work(WARM_UPS + len(times))
        after.record()
        after.synchronize()
        times.append(begin.elapsed_time(after) / 1e3)
    return statistics.median(times)


def measure_ceilings() -> Ceilings:
    """Copy bandwidth, the rate of a large bf16 product on random data, and exponentials."""
    source = torch.empty(COPY_BYTES // 2, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    copied = median_seconds(lambda _: target.copy_(source))
    left, right = (
        torch.randn(PRODUCT_SIZE, PRODUCT_SIZE, device="cuda", dtype=torch.bfloat16)
        for _ in range(2)
    )
    product = median_seconds(lambda _: left @ right)
    device = torch.cuda.get_device_properties(0)
    clock = device.clock_rate * 1e3 if hasattr(device, "clock_rate") else 1.85e9
    return Ceilings(
        operations=2.0 * PRODUCT_SIZE**3 / product,
        bytes=2.0 * source.nbytes / copied,
        exponentials=float(device.multi_processor_count * EXPONENTIALS_PER_CYCLE * clock),
    )


def _host_median(work: Callable[[int], object], repeats: int) -> float:
    times = []
    for index in range(min(repeats, 5)):
        begin = time.perf_counter()
        work(index)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)
