"""Command lines of the runtime: sala-run, sala-inspect and sala-bench."""
