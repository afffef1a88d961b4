"""The search for one kernel's schedule, with a clock and a machine that are made up."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from sala_compile.codegen.kernels.choices import Axis, single
from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.tuning.measurer import TrialEnded
from sala_compile.codegen.tuning.search import ALLOWED, FINAL_PAIRS, Search
from sala_compile.runtime.artifact.tuning import KernelTrial, TunedCase


@dataclass(frozen=True, slots=True)
class Tiles:
    """A schedule of two numbers."""

    rows: int = 4
    ahead: int = 8


AXES = (single("rows", 2, 4, 8), single("ahead", 4, 16, exact=False))


def case(
    gain: float,
    work: str = "decode",
    *,
    clean: int = 8,
    equal: bool = True,
    difference: float = 0.0,
) -> KernelTrial:
    """A trial in which a build is `gain` times as fast as the default."""
    timed = TunedCase(
        work=work, rows=1, default_seconds=1.0, tuned_seconds=1 / gain, clean=clean, samples=8
    )
    return KernelTrial(timed, equal, difference, 1.0)


@dataclass
class Machine:
    """A measurer of schedules: `gains` by their fields, a second for each trial."""

    gains: dict[tuple[int, int], Any]
    now: float = 0.0
    asked: list[tuple[int, int, int]] = field(default_factory=list)
    default_build: Any = None

    def kernels(self) -> dict[str, dict[str, float]]:
        """Not asked for here."""
        raise AssertionError

    def trial(self, build: Any, default: Any, pairs: int, seconds: float) -> list[KernelTrial]:
        """Give what `gains` says."""
        self.default_build = default
        self.now += 1
        self.asked.append((build.rows, build.ahead, pairs))
        answer = self.gains.get((build.rows, build.ahead), 0.9)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, list) else [case(answer)]

    def search(self, seconds: float = 100.0, axes: tuple[Axis, ...] = AXES) -> Any:
        """Search from the default."""
        search = Search(self, lambda schedule: schedule, seconds, clock=lambda: self.now)
        return search.run(Tiles(), axes)


def test_axes_are_walked_from_the_best_so_far():
    machine = Machine({(2, 8): 1.1, (8, 8): 1.3, (8, 4): 1.2, (8, 16): 1.4})
    found = machine.search()
    assert machine.default_build == Tiles()
    assert found.schedule == Tiles(8, 16)
    assert (found.tried, found.refused, found.complete) == (4, 0, True)
    assert machine.asked[-1] == (8, 16, FINAL_PAIRS)
    assert [asked[:2] for asked in machine.asked[:-1]] == [(2, 8), (8, 8), (8, 4), (8, 16)]


def test_the_default_stays_where_nothing_is_faster():
    machine = Machine({(8, 8): 1.01})
    found = machine.search()
    assert (found.schedule, found.trials) == (Tiles(), ())


def test_a_winner_must_win_again():
    class Lucky(Machine):
        def trial(self, build: Any, default: Any, pairs: int, seconds: float) -> list[KernelTrial]:
            trials = super().trial(build, default, pairs, seconds)
            return [case(1.0)] if pairs == FINAL_PAIRS else trials

    assert Lucky({(8, 8): 2.0}).search().schedule == Tiles()


def test_a_winner_needs_clean_samples():
    assert Machine({(8, 8): [case(2.0, clean=2)]}).search().schedule == Tiles()
    assert Machine({(8, 8): [case(2.0, clean=3)]}).search().schedule == Tiles(8, 8)


def test_a_gain_in_one_case_does_not_pay_for_a_loss_in_another():
    found = Machine({(8, 8): [case(3.0, "prefill"), case(0.9)]}).search()
    assert found.schedule == Tiles()
    found = Machine({(8, 8): [case(3.0, "prefill"), case(0.98)]}).search()
    assert found.schedule == Tiles(8, 8)


@pytest.mark.parametrize(
    ("place", "difference", "taken"),
    [
        ((8, 8), 1e-9, False),  # this axis promises the same bits
        ((4, 16), ALLOWED / 2, True),
        ((4, 16), ALLOWED * 2, False),
        ((4, 16), float("inf"), False),
    ],
)
def test_wrong_results_do_not_count(place: tuple[int, int], difference: float, taken: bool):
    wrong = [case(5.0, equal=False, difference=difference)]
    found = Machine({place: wrong}).search()
    assert found.schedule == (Tiles(*place) if taken else Tiles())
    assert found.refused == (0 if taken else 1)


def test_once_an_order_changed_later_axes_are_held_to_the_tolerance():
    near = {"equal": False, "difference": ALLOWED / 2}
    machine = Machine({(4, 16): [case(2.0, **near)], (8, 16): [case(3.0, **near)]})
    assert machine.search(axes=AXES[::-1]).schedule == Tiles(8, 16)


def test_a_build_that_crashes_is_refused():
    found = Machine({(2, 8): TrialEnded("exit code -11"), (8, 8): 1.5}).search()
    assert found.schedule == Tiles(8, 8)
    assert found.refused == 1


def test_time_ends_the_search_and_what_was_found_is_kept():
    found = Machine({(2, 8): 1.5, (8, 8): 9.0}).search(seconds=1.0)
    assert (found.schedule, found.tried, found.complete) == (Tiles(2, 8), 1, False)
    found = Machine({(2, 8): 1.5}).search(seconds=0.0)
    assert (found.schedule, found.tried, found.complete) == (Tiles(), 0, False)


SPECS = {
    "linear": {
        "depth": 100,
        "rows": 200,
        "weight": "bf16",
        "output": "f32",
        "scale": 1.0,
        "bias": False,
        "swiglu": False,
        "extent": "tokens",
        "x_start": 0,
        "x_pitch": 112,
    },
    "attend_blocks": {
        "num_heads": 8,
        "kv_heads": 4,
        "head_dim": 32,
        "block_size": 16,
        "scale": 0.1,
        "element": "bf16",
        "out_element": "bf16",
        "budget": 0,
        "q_start": 0,
        "q_pitch": 256,
        "gate": False,
    },
    "select_blocks": {
        "num_heads": 8,
        "kv_heads": 2,
        "head_dim": 32,
        "scale": 0.1,
        "init_blocks": 1,
        "window_blocks": 2,
        "topk": 4,
        "dense_len": 64,
        "block_size": 16,
        "kernel_size": 8,
        "kernel_stride": 4,
        "element": "bf16",
        "q_start": 0,
        "q_pitch": 256,
    },
    "lightning_attention": {
        "num_heads": 2,
        "kv_heads": 2,
        "head_dim": 32,
        "scale": 0.1,
        "eps": 1e-6,
        "slopes": (0.1, 0.2),
        "q_start": 0,
        "k_start": 64,
        "v_start": 128,
        "q_pitch": 192,
        "k_pitch": 192,
        "v_pitch": 192,
        "norm": False,
        "rope": False,
    },
}


@pytest.mark.parametrize("processor", ["x86-64-v3", "x86-64-v4", "sapphirerapids"])
@pytest.mark.parametrize("name", SPECS)
def test_candidates_are_legal_by_construction(name: str, processor: str):
    """Every candidate builds, for registers of both sizes and for tiles."""
    chosen, target = family(name), CpuTarget(processor)
    spec = chosen.spec.parse(SPECS[name])
    default = chosen.default_schedule(spec, target)
    axes = chosen.axes(spec, target)
    candidates = [schedule for axis in axes for schedule in axis.neighbours(default)]
    assert len(candidates) >= 2
    assert len(candidates) == len(set(candidates))
    for schedule in candidates[:: 1 if processor == "x86-64-v4" else 4]:
        function = chosen.build(SPECS[name], target, schedule)
        shapes = {each.name: each.ty.shape for each in function.params}
        for workspace in chosen.workspaces(spec, schedule):
            columns = shapes[workspace.name][1]
            if not workspace.elements_per_page:
                assert columns.value == workspace.elements


def test_a_neighbour_differs_along_its_axis_alone():
    start = replace(Tiles(), ahead=4)
    assert list(AXES[0].neighbours(start)) == [Tiles(2, 4), Tiles(8, 4)]
