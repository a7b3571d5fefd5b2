"""The commands of `icd`, one module each: `add_arguments(parser)` and `run(arguments) -> exit status`."""
