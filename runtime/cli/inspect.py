"""sala-inspect: shows what is in an artifact, what memory it needs, and whether it runs right."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from sala_compile.runtime.cli.common import output, print_json
from sala_compile.runtime.cli.pictures import check_picture
from sala_compile.runtime.common.option_types import TOKENS, VERIFY_KEY
from sala_compile.runtime.common.process import run_command
from sala_compile.runtime.common.threads import available_cpus
from sala_compile.runtime.errors import reported_as

if TYPE_CHECKING:
    from sala_compile.runtime.artifact.reader import Artifact
    from sala_compile.runtime.cli.sections import ReportSection

FAILED = 1
"""Exit code when a golden vector does not hold; 2 is for mistakes of the user."""


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.argument("artifact", metavar="NAME.sala", type=click.Path(path_type=Path))
@click.option(
    "--memory",
    is_flag=True,
    show_default=False,
    help="Memory part by part, and the largest context for usual budgets.",
)
@click.option(
    "--context",
    type=TOKENS,
    multiple=True,
    show_default=False,
    help="Context for --memory, such as 32K or 1M; may be repeated.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE.svg",
    help="Draw the arena of the first context over the steps; also .png and .pdf. Needs the extra "
    "sala-compile[plot].",
)
@click.option("--batch", type=click.IntRange(min=1), default=1, help="Sequences of one step.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads that are planned for, of any machine, or verified on, of this one.  "
    "[default: the CPUs of this process]",
)
@click.option(
    "--device",
    metavar="DEVICE",
    help="Device that is planned for or verified on: cpu, cuda or the number of a GPU, cuda:1.  "
    "[default: cpu, if the artifact has code for one]",
)
@click.option("--target", help="Target whose program is planned.  [default: one of the device]")
@click.option(
    "--kernels",
    is_flag=True,
    show_default=False,
    help="Kernels, the rules that chose them, and why others refused.",
)
@click.option(
    "--weights",
    is_flag=True,
    show_default=False,
    help="Every tensor, how it is stored, and the error of those that were quantised.",
)
@click.option("--ir", is_flag=True, show_default=False, help="Print the captured graph.")
@click.option(
    "--generic",
    is_flag=True,
    show_default=False,
    help="Print it in MLIR's generic form, which mlir-opt and iree-opt read.",
)
@click.option(
    "--irdl",
    is_flag=True,
    show_default=False,
    help="Print the definition of the graph's dialect, for mlir-opt --irdl-file.",
)
@click.option(
    "--llvm",
    type=click.IntRange(min=15),
    default=20,
    help="With --irdl: the LLVM release of the tools; before 20 their definitions have no names.",
)
@click.option(
    "--graph",
    type=click.Path(path_type=Path),
    metavar="FILE.svg|FILE.html",
    help="Draw the model: layers, kernels, what is kept of a sequence. A page (.html) opens its "
    "kernels on a click; pictures (.svg, .png, .pdf) need the extra sala-compile[plot].",
)
@click.option(
    "--verify",
    is_flag=True,
    show_default=False,
    help="Check every hash and run the golden vectors on this machine.",
)
@VERIFY_KEY
@click.option(
    "--json", "as_json", is_flag=True, show_default=False, help="Print one JSON document."
)
@click.version_option(package_name="sala-compile", prog_name="sala-inspect")
def command(**options: Any) -> None:
    """Show the compiled model NAME.sala.

    Without options: its manifest. Exit code 1 means that --verify found a difference, 2 that the
    request or the artifact is at fault.
    """
    with reported_as("sala-inspect"):
        sys.exit(_inspect(options))


def main() -> None:
    """Entry point of the console script."""
    run_command(command, "sala-inspect")


def _inspect(options: dict[str, Any]) -> int:
    from sala_compile.runtime.artifact.reader import (
        open_artifact,  # these take a while, --help should not
    )
    from sala_compile.runtime.cli.graph.graph_output import check_graph

    if options["plot"] is not None:
        check_picture(options["plot"])
    if options["graph"] is not None:
        check_graph(options["graph"])
    artifact = open_artifact(options["artifact"], verify_key=options["verify_key"])
    sections, code = _sections(artifact, options)
    if options["as_json"]:
        print_json({section.name: section.document for section in sections})
        return code
    console = output()
    for number, section in enumerate(sections):
        for view in section.views:
            console.print(view, soft_wrap=isinstance(view, Text))
        if number + 1 < len(sections):
            console.print()
    return code


def _sections(artifact: "Artifact", options: dict[str, Any]) -> "tuple[list[ReportSection], int]":
    """What was requested, and the exit code; the manifest if nothing was."""
    from sala_compile.runtime.cli import sections as make
    from sala_compile.runtime.cli.graph.graph_output import written_graph
    from sala_compile.runtime.cli.graph_section import definition_section, graph_section
    from sala_compile.runtime.cli.memory_section import (
        MemoryRequest,
        memory_section,
        planned_target,
    )
    from sala_compile.runtime.cli.weights_section import weights_section

    planning: dict[str, Any] = {
        "contexts": options["context"],
        "batch": options["batch"],
        "threads": options["threads"] or available_cpus(),
        "plot": options["plot"],
    }
    names = ("memory", "kernels", "weights", "ir", "irdl", "graph", "verify")
    chosen = {name: options[name] for name in names}
    chosen["ir"] = chosen["ir"] or options["generic"]
    chosen["memory"] = chosen["memory"] or bool(options["context"] or options["plot"])
    made: list[ReportSection] = []
    if not any(chosen.values()):
        made.append(make.manifest_section(artifact))
    if chosen["memory"]:
        target = planned_target(artifact, options["device"], options["target"])
        made.append(memory_section(artifact, MemoryRequest(target, **planning)))
    if chosen["kernels"]:
        made.append(make.kernels_section(artifact))
    if chosen["weights"]:
        made.append(weights_section(artifact))
    if chosen["ir"]:
        made.append(graph_section(artifact, generic=options["generic"]))
    if chosen["irdl"]:
        made.append(definition_section(artifact, options["llvm"]))
    if options["graph"] is not None:
        target = planned_target(artifact, options["device"], options["target"])
        made.append(written_graph(artifact, target, options["graph"]))
    if not chosen["verify"]:
        return made, 0
    section, passed = make.verify_section(
        artifact, threads=planning["threads"], device=options["device"]
    )
    return [*made, section], 0 if passed else FAILED
