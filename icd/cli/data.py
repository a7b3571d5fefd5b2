"""`icd data prepare|check|embedded`: lists from the user's VOC, a folder checked, the embedded set drawn."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from icd.data.check import RunFolders, check_run
from icd.data.embedded import prepare_embedded
from icd.data.voc import derive_lists, link_folders
from icd.files import read_classes, read_list, write_atomic
from icd.provenance import available_cores


def add_arguments(parser) -> None:
    """Add the three commands to an `argparse` parser."""
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="prepare|check|embedded")
    _add_prepare(commands.add_parser("prepare", help="derive the lists of VOC 2012 from your own copy"))
    _add_check(
        commands.add_parser("check", help="read everything that a run would read and name every problem")
    )
    embedded = commands.add_parser("embedded", help="draw the embedded data set")
    embedded.add_argument("folder", nargs="?", default="data/embedded", help="default: %(default)s")
    embedded.set_defaults(data_function=_embedded)


def run(arguments) -> int:
    """Run the chosen command; return the exit status: 0, or 2 where something is missing or wrong."""
    return arguments.data_function(arguments)


def _add_prepare(parser) -> None:
    parser.add_argument(
        "--voc-root", required=True, help="the folder VOC2012, with masks in SegmentationClassAug"
    )
    parser.add_argument(
        "--output", default="data/VOC2012", help="where the lists and links go (default: %(default)s)"
    )
    parser.set_defaults(data_function=_prepare)


def _prepare(arguments) -> int:
    derived = derive_lists(arguments.voc_root)
    for name, ids in derived.lists.items():
        path = Path(arguments.output) / f"{name}.txt"
        write_atomic(path, ("\n".join(ids) + "\n").encode())
        print(f"{path}: {len(ids)} ids")
    for link in link_folders(arguments.voc_root, arguments.output):
        print(f"{link} -> {link.resolve()}")
    for title, sentences in (("missing", derived.missing), ("different", derived.different)):
        for sentence in sentences:
            print(f"{title}: {sentence}")
    if not derived.missing and not derived.different:
        print("The lists are those of the original.")
    return 2 if derived.missing else 0


def _add_check(parser) -> None:
    parser.add_argument("--image-root", required=True, help="folder of <id>.jpg")
    parser.add_argument("--annotation-root", required=True, help="folder of <id>.xml")
    parser.add_argument("--data-list", required=True, help="text file with one id a line")
    parser.add_argument("--classes", help="file of class names, one a line (default: VOC's twenty)")
    parser.add_argument("--superpixel-root", help="folder of superpixels <id>.png")
    parser.add_argument("--saliency-root", help="folder of saliency maps <id>.png")
    parser.add_argument("--eval-root", help="folder of true masks <id>.png")
    parser.add_argument(
        "--workers", type=int, default=available_cores(), help="processes (default: all cores)"
    )
    parser.set_defaults(data_function=_check)


def _check(arguments) -> int:
    folders = RunFolders(
        arguments.image_root,
        arguments.annotation_root,
        arguments.superpixel_root,
        arguments.saliency_root,
        arguments.eval_root,
        read_classes(arguments.classes),
    )
    ids = read_list(arguments.data_list)
    faulty = count = 0
    progress = tqdm(check_run(folders, ids, arguments.workers), total=len(ids), unit="image", disable=None)
    for problems in progress:
        faulty += bool(problems)
        count += len(problems)
        for problem in problems:
            tqdm.write(str(problem))
    print(
        f"{len(ids)} images checked: " + (f"{count} problems in {faulty} of them" if count else "all is well")
    )
    return 2 if count else 0


def _embedded(arguments) -> int:
    paths = prepare_embedded(arguments.folder)
    training, validation = (len(read_list(path)) for path in (paths.data_list, paths.val_list))
    print(f"{arguments.folder}: {training} training and {validation} validation images")
    return 0
