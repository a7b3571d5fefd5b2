"""Show what a chain would do: its stages, what each reads and writes, what is done, and about how long the rest takes.

The flags are those of `icd run`. The command trains and writes nothing.
"""

from __future__ import annotations

from icd.cli.run import ChainHelp, add_arguments, make_stages

__all__ = ["ChainHelp", "add_arguments", "run"]


def run(arguments) -> int:
    """Print the plan."""
    from icd.stages.runner import plan

    stages, selection = make_stages(arguments)
    print(plan(stages, selection))
    return 0
