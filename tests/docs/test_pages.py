"""The pages of docs/ hold what they say: examples run, commands parse, messages and layouts are those of the program."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import re
import shlex
import sys
from pathlib import Path

import pytest

import icd
from icd.foreign import LAYOUTS

DOCS = Path(__file__).resolve().parents[2] / "docs"
sys.path.insert(0, str(DOCS))

import generated  # noqa: E402

PAGES = [*sorted(DOCS.rglob("*.md")), DOCS.parent / "README.md", DOCS.parent / "data" / "README.md"]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^    ((?:icd|python run_icd\.py) (?:.*\\\n)*.*)", re.MULTILINE)
MESSAGE = re.compile(r"^### (`.+)$", re.MULTILINE)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def name_of(page) -> str:
    return str(page.relative_to(DOCS.parent))


def run_examples(text: str, name: str, namespace: dict) -> None:
    """Run the examples of a text, of which there must be some, one after the other."""
    test = doctest.DocTestParser().get_doctest(text, namespace, name, name, 0)
    log = []
    done = doctest.DocTestRunner(verbose=False, optionflags=FLAGS).run(test, out=log.append)
    assert done.attempted and not done.failed, "".join(log)


@pytest.mark.parametrize("page", [page for page in PAGES if ">>>" in page.read_text()], ids=name_of)
def test_examples_of_pages_run(page):
    """The blocks of a page go on from one to the next."""
    run_examples("\n".join(PYTHON.findall(page.read_text())), name_of(page), {})


def modules_with_examples() -> list:
    """Modules of the package whose docstrings hold examples, told from their text, so that the others are not imported."""
    root = Path(icd.__file__).parent
    paths = [path for path in root.rglob("*.py") if ">>>" in path.read_text()]
    return sorted(".".join(path.relative_to(root.parent).with_suffix("").parts) for path in paths)


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_of_docstrings_run(name):
    module = importlib.import_module(name)
    found = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert found
    for test in found:
        run_examples(test.docstring, test.name, dict(vars(module)))


def commands_of(page) -> list:
    """The commands of a page, without what a comment says of them."""
    texts = (match.replace("\\\n", " ") for match in COMMAND.findall(page.read_text()))
    return [shlex.split(text, comments=True) for text in texts]


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=name_of)
def test_commands_of_pages_are_understood(page, capsys):
    for words in commands_of(page):
        if words[0] == "python":
            parser = generated.original_parser()
            words = words[1:]
        else:
            parser = generated.command_parser(words[1])
            words = words[1:]
        try:
            parser.parse_args(words[1:])
        except SystemExit as error:
            assert error.code == 0, f"{' '.join(words)}: {capsys.readouterr().err}"


def program_texts() -> str:
    """All texts of the program; a placeholder of an f-string is an ellipsis."""
    texts = []
    for path in Path(icd.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                texts.append("".join(parts))
    return "\n".join(texts)


def test_messages_of_the_troubleshooting_page_are_those_of_the_program():
    texts, messages = program_texts(), MESSAGE.findall((DOCS / "troubleshooting.md").read_text())
    quoted = [part for message in messages for part in re.findall(r"`([^`]+)`", message)]
    assert len(quoted) > 30
    for message in quoted:
        clauses = re.split(r"expected |; found |: |…", message)
        for clause in (clause.strip(" .") for clause in clauses):
            assert clause in texts, f"{message}: the program never says {clause!r}"


def test_formats_name_every_layout():
    page = generated.expand((DOCS / "formats.md").read_text())
    rows = re.findall(r"^`(\w+)` ", page, re.MULTILINE)
    assert set(LAYOUTS) <= set(rows)


def test_the_reference_holds_every_module():
    """A module that is new must be on a page; commands have a page of their own."""
    blocks = re.findall(
        r"\{generated\} modules (\S+)", "".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    )
    listed = [name for block in blocks for name in generated.module_names(block)]
    everything = {"icd." + module.name for module in pkgutil.iter_modules(icd.__path__)} - {
        "icd._native",
        "icd.cli",
        "icd.chains",
    }
    assert everything <= set(listed) and len(listed) == len(set(listed))


def test_the_methods_page_knows_every_chain():
    from icd.stages.chain import chain_names

    text = "".join(page.read_text() for page in (DOCS / "methods").glob("*.md"))
    named = set(re.findall(r"icd run (\w+)", text + (DOCS / "segmentation.md").read_text()))
    assert set(chain_names()) <= named


def test_a_block_that_nobody_generates_is_an_error():
    with pytest.raises(KeyError):
        generated.expand("```{generated} nonsense icd\n```")


def test_what_was_measured_stands_on_a_method_s_page():
    """No page of a method says that nothing was measured while benchmarks/results/ has runs of it."""
    shown = {
        name
        for page in (DOCS / "methods").glob("*.md")
        for line in re.findall(r"\{generated\} measured (.+)", page.read_text())
        for name in line.split()
    }
    kept = {path.name.split("-")[1] for path in (DOCS.parent / "benchmarks" / "results").glob("*-0.json")}
    assert kept and kept <= shown
