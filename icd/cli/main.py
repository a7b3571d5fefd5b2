"""`icd COMMAND ...`: finds the command's module and turns bad input into one line and exit status 2."""

from __future__ import annotations

import argparse
import importlib
import sys

import icd
from icd.cli.flags import HelpFormatter
from icd.errors import InputError, os_error_text, printable

COMMANDS = {
    "doctor": "say what is installed and which devices work",
    "data": "prepare VOC's or COCO's lists, check a folder, draw the embedded set",
    "superpixels": "make raw superpixels, or merge them by deep features",
    "saliency": "make saliency maps of photographs with an ONNX model, for methods that need them",
    "run": "run a published pipeline: train, localize, make masks, score, report",
    "launch": "start several processes that train together, on this machine or on several",
    "plan": "show what a pipeline would do, what is done, and about how long the rest takes",
    "seeds": "make seeds from score maps, ours or those of the originals",
    "walk": "let score maps spread up to boundary maps, both of any program",
    "evaluate": "score masks or score maps against the truth",
    "compare": "make one table of several runs",
    "report": "write a run's report.html",
    "export": "write score maps or masks in another project's layout",
    "export-onnx": "write a run's network for ONNX Runtime, which needs no MXNet",
    "predict": "make masks of photographs with an exported segmentation network, without MXNet",
    "weights": "list the known weight files and check those that are here",
    "convert": "turn a checkpoint of another program into .params, or back",
}


def main(argv=None) -> int:
    """Run a command line.

    Parameters
    ----------
    argv : list of str, optional
        Without the program's name; default the process's own.

    Returns
    -------
    int
        Exit status: 0, 1 where the work failed, 2 for bad input, 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="icd", description=icd.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"icd {icd.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in argv if word in COMMANDS), None)
    for name, help_line in COMMANDS.items():
        if name == chosen:  # only its module is imported: `icd evaluate` must not need MXNet
            try:
                module = importlib.import_module(f"icd.cli.{name.replace('-', '_')}")
                subparser = subparsers.add_parser(
                    name,
                    help=help_line,
                    description=module.__doc__,
                    formatter_class=HelpFormatter,
                    add_help=not hasattr(module, "ChainHelp"),
                )
                if hasattr(module, "ChainHelp"):
                    about = "show this and what is known of the chain"
                    subparser.add_argument("-h", "--help", action=module.ChainHelp, help=about)
                module.add_arguments(subparser)  # some choices need what may not be installed, MXNet for one
            except ImportError as error:
                return explain_import(error)
        else:
            subparsers.add_parser(name, help=help_line)

    def parse_and_run(words):
        arguments = parser.parse_args(words)
        return module.run(arguments)

    return guarded(parse_and_run, argv)


def explain_import(error: ImportError) -> int:
    """Say in one line that something is not installed or built (OpenCV, the kernels, …); return the exit status."""
    print(
        f"error: {printable(error, 600)}. Run `python -m icd.cli.main doctor`: it says what to do",
        file=sys.stderr,
    )
    return 1


def guarded(run, arguments) -> int:
    """Call `run(arguments)`; report what the user can mend in one line, without a traceback."""
    try:
        return run(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        return explain_import(error)
    except BrokenPipeError:
        return 1
    except OSError as error:
        print(f"error: {os_error_text(error)}", file=sys.stderr)
        return 1
    except ArithmeticError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return 1
    except MemoryError:
        print(
            "error: the memory is used up. Fewer --workers, smaller images or fewer regions need less.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("stopped; the same call goes on from here (training: with --resume)", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
