"""Commands of the compiler."""

from runtime.errors import CompileError, reported_as


def sala_compile() -> None:
    """Entry point of the console script; names the extra where only the runtime is installed."""
    with reported_as("sala-compile"):
        try:
            from codegen.cli.compile import main
        except ModuleNotFoundError as error:
            raise CompileError(
                f"the package {error.name} is not installed; this environment only runs artifacts",
                fix="pip install 'sala-compile[compile]'",
            ) from None
    main()
