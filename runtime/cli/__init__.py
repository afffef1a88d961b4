"""Command lines of the runtime: sala-run and sala-inspect."""
