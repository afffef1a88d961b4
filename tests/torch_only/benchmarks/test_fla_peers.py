"""fla's kernels choose among few configurations, whatever wraps them."""

from types import SimpleNamespace

from benchmarks.gpu.fla_peers import restrict, spread


def test_few_configurations_are_spread_over_all() -> None:
    assert spread(range(48)) == [8, 24, 40]
    assert spread([7, 8]) == [7, 8]
    assert spread([]) == []


def test_only_the_kernels_of_fla_are_restricted_and_each_once() -> None:
    tuner, other = (SimpleNamespace(configs=list(range(12)), fn=None) for _ in range(2))
    wrapped = SimpleNamespace(fn=tuner)
    modules = {
        "fla.ops.one": SimpleNamespace(kernel=wrapped, again=tuner, text="x"),
        "flax": SimpleNamespace(kernel=other),
    }
    assert restrict(modules) == 1
    assert tuner.configs == [2, 6, 10]
    assert other.configs == list(range(12))
