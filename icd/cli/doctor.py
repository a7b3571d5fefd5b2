"""Say what is installed, which devices work and why others do not. Exit status 0 if the CPU path works, 1 if not."""

from __future__ import annotations

from icd.doctor import FAILS, examine


def add_arguments(parser) -> None:
    """The command has no arguments of its own."""


def run(arguments) -> int:
    """Print the findings, a remedy under each that is not well; return the exit status."""
    findings = examine()
    for finding in findings:
        print(f"{finding.state:<6}{finding.title:<10}{finding.text}")
        if finding.remedy:
            print(f"{'':<6}{'':<10}-> {finding.remedy}")
    broken = sorted({finding.title for finding in findings if finding.state == FAILS})
    print(f"The CPU path is broken: {', '.join(broken)}." if broken else "The CPU path works.")
    return 1 if broken else 0
