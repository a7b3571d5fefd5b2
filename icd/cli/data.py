"""`icd data prepare|coco|check|embedded`: make the lists of your VOC or COCO, check a folder, draw the embedded set."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

from tqdm import tqdm

from icd.cli.flags import add_cluster, add_max_side, add_place, at_least
from icd.data.catalogue import find_data_set
from icd.data.check import RunFolders, check_run
from icd.data.dataset import require_folder
from icd.data.embedded import prepare_embedded
from icd.data.images import image_path
from icd.data.voc import derive_lists, link_folders
from icd.errors import InputError
from icd.evaluate.findings import Findings, count_findings, no_findings
from icd.evaluate.tally import map_on_cores
from icd.files import mask_path, read_classes, read_list, read_mask_and_palette, write_atomic
from icd.provenance import available_cores

_CHUNK = 32  # masks that a process reads at once


def add_arguments(parser) -> None:
    """Add the four commands to an `argparse` parser."""
    commands = parser.add_subparsers(
        dest="data_command", required=True, metavar="prepare|coco|check|embedded"
    )
    _add_prepare(commands.add_parser("prepare", help="derive the lists of VOC 2012 from your own copy"))
    _add_coco(commands.add_parser("coco", help="derive list and true masks of COCO from its instances"))
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
        "--out",
        "--output",
        default="data/VOC2012",
        help="where the lists and links go (default: %(default)s)",
    )
    parser.set_defaults(data_function=_prepare)


def _prepare(arguments) -> int:
    derived = derive_lists(arguments.voc_root)
    for name, ids in derived.lists.items():
        path = Path(arguments.out) / f"{name}.txt"
        write_atomic(path, ("\n".join(ids) + "\n").encode())
        print(f"{path}: {len(ids)} ids")
    for link in link_folders(arguments.voc_root, arguments.out):
        print(f"{link} -> {link.resolve()}")
    for title, sentences in (("missing", derived.missing), ("different", derived.different)):
        for sentence in sentences:
            print(f"{title}: {sentence}")
    if not derived.missing and not derived.different:
        print("The lists are those of the original.")
    return 2 if derived.missing else 0


def _add_coco(parser) -> None:
    parser.add_argument("--instances", required=True, type=Path, help="COCO's instances_*.json")
    add_place(parser, "images", required=True)
    parser.add_argument(
        "--out",
        "--output",
        default="data/COCO2014",
        type=Path,
        help="the ids go to OUT/train2014.txt or the like, masks to OUT/SegmentationClass (default: %(default)s)",
    )
    parser.add_argument("--classes", default="coco", help="coco, or a file of class names (default: coco)")
    parser.add_argument("--no-masks", action="store_true", help="write the list only")
    parser.add_argument(
        "--workers", type=at_least(0), default=available_cores(), help="processes (default: all cores)"
    )
    add_cluster(parser)
    parser.set_defaults(data_function=_coco)


def _coco(arguments) -> int:
    from icd.data.coco import (
        read_coco_tags,
    )  # here, like the masks below: other commands need no package for it

    require_folder(arguments.images)
    classes = read_classes(arguments.classes)
    ids = [image_id for image_id, tags in read_coco_tags(arguments.instances, classes).items() if tags]
    if not ids:
        raise InputError(arguments.instances, "images with annotations", "none")
    path = arguments.out / f"{arguments.instances.stem.replace('instances_', '', 1)}.txt"
    write_atomic(path, ("\n".join(ids) + "\n").encode())
    print(f"{path}: {len(ids)} ids with tags")
    missing = [image_id for image_id in ids if not image_path(arguments.images, image_id).is_file()]
    if missing:
        some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        print(f"missing: {arguments.images}: {len(missing)} of the {len(ids)} ids have no image: {some}")
    if not arguments.no_masks:
        from icd.data.coco_masks import write_coco_masks
        from icd.stages.cluster import opened

        masks = arguments.out / "SegmentationClass"
        with opened(arguments.cluster, arguments.workers, arguments.out, [arguments.instances]) as workers:
            drawn, bare = write_coco_masks(arguments.instances, classes, ids, masks, workers)
        print(f"{masks}: {drawn} masks drawn, {len(ids) - drawn} were there")
        if bare:
            print(
                f"WARNING {len(bare)} of them have an object without outline: its box is 255 there, which is not scored "
                f"({', '.join(bare[:3])}{', ...' if len(bare) > 3 else ''})"
            )
    return 2 if missing else 0


def _add_check(parser) -> None:
    for name in ("images", "tags"):
        add_place(parser, name, required=True)
    add_place(parser, "list", "[all photographs with tags]")
    add_place(parser, "classes", "[voc; without --list the names in --tags, alphabetically]")
    for name in ("superpixels", "saliency", "truth"):
        add_place(parser, name)
    add_max_side(parser)
    parser.add_argument(
        "--workers", type=at_least(0), default=available_cores(), help="processes (default: all cores)"
    )
    add_cluster(parser)
    parser.set_defaults(data_function=_check)


def _check(arguments) -> int:
    from icd.stages.cluster import opened

    names = ("images", "tags", "list", "classes", "superpixels", "saliency", "truth")
    data = find_data_set("folder", {name: getattr(arguments, name) for name in names})
    if data.list is None:
        print(f"{data.images}: {data.listing}")
    folders = RunFolders(
        data.images, data.tags, data.superpixels, data.saliency, data.truth, data.classes, arguments.max_side
    )
    places = [data.images, data.tags, data.superpixels, data.saliency, data.truth]
    with opened(arguments.cluster, arguments.workers, ".", places) as workers:
        count = _name_problems(folders, data.ids, workers)
        for remark in _remarks(data.truth, data.ids, len(data.classes), workers):
            print(remark)
    return 2 if count else 0


def _name_problems(folders: RunFolders, ids, workers) -> int:
    """Check all images, print what is wrong, and say how much that was."""
    faulty = count = 0
    for problems in tqdm(check_run(folders, ids, workers), total=len(ids), unit="image", disable=None):
        faulty += bool(problems)
        count += len(problems)
        for problem in problems:
            tqdm.write(str(problem))
    found = f"{count} problems in {faulty} of them" if count else "all is well"
    print(f"{len(ids)} images checked: {found}")
    return count


def _remarks(truth, ids, classes: int, workers) -> list:
    """What is doubtful in masks that can be read: ignored pixels, colours of other classes."""
    if truth is None:
        return []
    chunks = [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]
    found = list(map_on_cores(partial(_findings, truth, classes), chunks, workers))
    images, counts, colours = (sum(part) for part in zip(*found))
    return Findings(images, counts, colours).sentences()


def _findings(truth, classes: int, ids) -> tuple:
    """The number of masks that can be read, and the sums of their `count_findings`."""
    images, (counts, colours) = 0, no_findings(classes)
    for image_id in ids:
        with contextlib.suppress(InputError):  # which the check has named
            mask, palette = read_mask_and_palette(mask_path(truth, image_id))
            more = count_findings(mask, palette, mask, None, classes)
            images, counts, colours = images + 1, counts + more[0], colours + more[1]
    return images, counts, colours


def _embedded(arguments) -> int:
    paths = prepare_embedded(arguments.folder)
    training, validation = (len(read_list(path)) for path in (paths.data_list, paths.val_list))
    print(f"{arguments.folder}: {training} training and {validation} validation images")
    return 0
