"""Programs of whole models without their weights."""

from contextlib import ExitStack
from functools import cache
from pathlib import Path

from sala_compile.codegen.lowering import lower, parse_targets
from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.plan import Plan, assemble
from sala_compile.codegen.progress import Silent

RELEASED = Path(__file__).parents[2] / "examples" / "released-config.json"


@cache
def plan_on_paper(config: Path = RELEASED) -> Plan:
    """Everything about the artifact of a configuration but its bytes, for this processor."""
    options = CompileOptions(checkpoint=None, output=None, dry_run=True, config_file=config)
    with ExitStack() as stack:
        source = open_source(options, stack)
    lowered = tuple(
        lower(source.captured, name, target, options, Silent())
        for name, target in parse_targets(options.targets).items()
    )
    return assemble(source, lowered)
