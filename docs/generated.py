"""What pages say that the package itself knows: commands, chains, recipes, published numbers, weights, modules.

In: a page with blocks ```` ```{generated} NAME ARGUMENTS ````. Out: the same page with Markdown in their place. `conf.py` calls
`expand` for every page when the site is built, so these parts cannot fall behind the program.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

BLOCK = re.compile(r"^```\{generated\} (\w+) ?(.*)\n```$", re.MULTILINE)
WIDTH = 100  # of help texts
_INTERNAL = ("if", "folder", "name_of_file")  # of a chain's line: where files go


def expand(page: str) -> str:
    """Put what is generated into a page.

    Raises
    ------
    KeyError
        A block names nothing that can be generated.
    """
    return BLOCK.sub(lambda match: GENERATED[match[1]](*match[2].split()), page)


def commands() -> str:
    """Every command of `icd` with its help."""
    from icd.cli.main import COMMANDS

    parts = []
    for name in sorted(COMMANDS):
        parts.append(f"## icd {name}\n")
        parts += [f"```text\n{text.rstrip()}\n```\n" for text in help_texts(name)]
    return "\n".join(parts)


def help_texts(command: str) -> list:
    """The help of a command, then of each of its actions."""
    parser = command_parser(command)
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return [parser.format_help(), *(p.format_help() for a in actions for p in a.choices.values())]


def command_parser(command: str) -> argparse.ArgumentParser:
    """The parser of a command, which is the one that `icd.cli.main` makes of its module."""
    module = importlib.import_module(f"icd.cli.{command.replace('-', '_')}")
    parser = argparse.ArgumentParser(f"icd {command}", description=module.__doc__, formatter_class=_wide)
    module.add_arguments(parser)
    return parser


def _wide(prog):
    from icd.cli.flags import HelpFormatter

    return HelpFormatter(prog, width=WIDTH)


def original() -> str:
    """The help of `run_icd.py`, which has the original's flags in front."""
    parser = original_parser()
    parser.formatter_class = _wide
    return f"```text\n{parser.format_help().rstrip()}\n```\n"


def original_parser() -> argparse.ArgumentParser:
    """The parser of `run_icd.py`."""
    from icd.cli.run import parser_of

    return parser_of("run_icd.py", "ICD (CVPR 2020), from photographs and tags to pseudo masks.")


def chain(name: str) -> str:
    """The stages of a chain, a row each."""
    from icd.stages.chain import read_chain

    rows = []
    for stage, line in read_chain(name).items():
        (kind, source), *settings = line.items()
        shown = [f"`{key}: {value}`" for key, value in settings if key not in _INTERNAL]
        shown += [f"only with `--{value.replace('_', '-')}`" for key, value in settings if key == "if"]
        rows.append((f"`{stage}`", f"`{kind}: {source}`", ", ".join(shown)))
    return table(("stage", "what it does", "settings, and what else it reads"), rows)


def chains() -> str:
    """All chains, a row each."""
    from icd.stages.chain import about, chain_names

    return table(("chain", "what it is"), [(f"`{name}`", about(name).rstrip(".")) for name in chain_names()])


def recipe(trainable: str, published: str = None) -> str:
    """The entries of a recipe: name, value, meaning."""
    from icd.engine.build import find_trainable
    from icd.recipe import meaning_of

    recipes = find_trainable(trainable).recipes
    chosen = recipes[published or next(iter(recipes))]
    rows = [
        (f"`{field.name}`", str(getattr(chosen, field.name)), meaning_of(type(chosen), field.name).text)
        for field in dataclasses.fields(chosen)
    ]
    names = ", ".join(f"`{name}`" for name in recipes)
    return f"Recipes of `{trainable}` (`--recipe`): {names}. This is the first.\n\n" + table(
        ("entry", "value", "meaning"), rows
    )


def published(name: str, *words: str) -> str:
    """The numbers of a file of `icd/published`; with words only those whose `what` starts with one of them."""
    from icd.evaluate.published import read_published

    title, entries = read_published(name)
    kept = [e for e in entries if not words or e.what.startswith(words)]
    columns = (
        "what",
        "stage",
        "split",
        "score",
        "CRF",
        "threshold",
        "beyond tags",
        "network, start",
        "said by",
    )
    note = "Scores are mIoU in % unless they say otherwise; a question mark stands where the source says nothing."
    return f"{title}. {note}\n\n" + table(columns, [_published_row(entry) for entry in kept])


def _published_row(entry) -> tuple:
    score = str(float(entry.value)) + ("" if entry.metric == "mIoU" else f" ({entry.metric})")
    crf = {True: "yes", False: "no", None: "?"}[entry.crf]
    extra = "?" if entry.extra is None else ", ".join(entry.extra) or "–"
    start = ", ".join(text for text in (entry.network, entry.initial_weights) if text) or "?"
    source = f"{entry.by}: {entry.source}" + ("" if entry.verified else " (*unverified*)")
    return (
        entry.what,
        entry.stage or "?",
        entry.split or "?",
        score,
        crf,
        entry.threshold or "?",
        extra,
        start,
        source,
    )


def measured(*methods: str) -> str:
    """What was measured of some methods in this project, and how long it took."""
    return importlib.import_module("result_tables").measured(*methods)


def weights() -> str:
    """Every known weight file: what it is, what it learned from, where it comes from, and how it becomes ours."""
    from icd.weights.registry import known_weights

    rows = []
    for name, entry in known_weights().items():
        way = f"`icd convert {entry.family}`" if entry.family else "as it is"
        beyond = entry.supervision or "–"
        rows.append((f"`{name}`", entry.what, beyond, entry.origin, entry.licence or "not known", way))
    return table(
        ("name", "what", "beyond tags", "where it comes from", "licence", "how it becomes ours"), rows
    )


def trainings() -> str:
    """What each chain trains, on which backbones, and where it needs saliency maps."""
    from icd.engine.build import find_trainable
    from icd.stages.chain import chain_names, read_chain

    def code(names):
        return ", ".join(f"`{name}`" for name in dict.fromkeys(names))

    rows = []
    for name in chain_names():
        lines = read_chain(name).values()
        trained = {line["train"]: (line, find_trainable(line["train"])) for line in lines if "train" in line}
        backbones = (line.get("backbone") or kind.backbone for line, kind in trained.values())
        saliency = "in training" if any("saliency" in kind.needs for _, kind in trained.values()) else "–"
        saliency = "for the masks" if any(line.get("plane") == "sal" for line in lines) else saliency
        rows.append((f"`{name}`", code(trained), code(backbones), saliency))
    return table(("chain", "what it trains", "backbones as published", "saliency maps"), rows)


def modules(package: str) -> str:
    """A package, or a single module, with all public modules below it."""
    return "\n".join(
        f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n" for name in module_names(package)
    )


def module_names(package: str) -> list:
    """A package and its public modules, in order."""
    found = importlib.import_module(package)
    below = pkgutil.iter_modules(getattr(found, "__path__", ()), f"{package}.")
    return [package, *(module.name for module in below if not module.name.rpartition(".")[2].startswith("_"))]


def docstring(module: str) -> str:
    """A module's docstring below its first line, which is reStructuredText."""
    text = inspect.getdoc(importlib.import_module(module)).partition("\n")[2].strip()
    return f"```{{eval-rst}}\n{text}\n```\n"


def table(head: tuple, rows: list) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return (
        "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
        + "\n"
    )


GENERATED = {
    function.__name__: function
    for function in (
        chain,
        chains,
        commands,
        docstring,
        measured,
        modules,
        original,
        published,
        recipe,
        trainings,
        weights,
    )
}
