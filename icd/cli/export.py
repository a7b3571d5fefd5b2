"""Write score maps in another project's layout, or masks as the archive of the VOC evaluation server.

icd export maps results/scores_cam cams --list train_aug.txt --to psa
icd export maps icd_scores ours --list train.txt --from icd --tags Annotations --images JPEGImages --to npz
icd export voc predictions results.tgz --list test.txt
"""

from __future__ import annotations

from functools import partial as bind
from pathlib import Path

from icd.cli.flags import at_least
from icd.data.images import image_path, read_image_size
from icd.data.tags import open_tags
from icd.evaluate.archive import COMPETITIONS, write_voc_archive
from icd.evaluate.tally import map_on_cores
from icd.files import read_classes, read_list
from icd.foreign import LAYOUTS
from icd.foreign.layouts import find_score_maps, read_layout, write_layout
from icd.provenance import write_derived_run

_CHUNK = 8


def add_arguments(parser) -> None:
    """Add the two commands to an `argparse` parser."""
    commands = parser.add_subparsers(dest="export_command", required=True, metavar="maps|voc")
    maps = commands.add_parser("maps", help="score maps of any layout in another")
    maps.add_argument("source", help="folder of score maps")
    maps.add_argument("target", help="folder for the result")
    maps.add_argument("--list", required=True, help="ids, one a line; the originals' lists are understood")
    maps.add_argument(
        "--to", required=True, choices=[name for name in LAYOUTS if name != "crf"], help="layout to write"
    )
    maps.add_argument(
        "--from", dest="layout", choices=LAYOUTS, help="layout to read (default: told from the content)"
    )
    maps.add_argument("--tags", help="folder of <id>.xml or file of tags, which the layout icd needs")
    maps.add_argument("--images", help="folder of <id>.jpg, which the layout icd needs for their sizes")
    maps.add_argument("--classes", help="voc, coco, or a file of foreground class names (default: voc)")
    maps.add_argument("--workers", type=at_least(1), help="processes (default: all cores)")
    maps.set_defaults(export_function=_export_maps)
    voc = commands.add_parser("voc", help="masks as the archive of the VOC server")
    voc.add_argument("source", help="folder of masks")
    voc.add_argument("target", help="name of the archive, .tgz or .tar.gz")
    voc.add_argument("--list", required=True, help="ids of the test list")
    voc.add_argument("--classes", help="voc, coco, or a file of foreground class names (default: voc)")
    voc.add_argument("--competition", choices=COMPETITIONS, default="comp6", help="default: %(default)s")
    voc.set_defaults(export_function=_export_voc)


def run(arguments) -> int:
    """Run the chosen command and return its exit status."""
    return arguments.export_function(arguments)


def _export_maps(arguments) -> int:
    ids = read_list(arguments.list)
    chunks = [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]
    classes = read_classes(arguments.classes)
    tags = arguments.tags and open_tags(arguments.tags, classes)
    number = (
        len(classes) if arguments.classes else None
    )  # maps of another program's own classes can be exported too
    convert = bind(_convert, arguments=arguments, tags=tags, classes=number)
    done = sum(map_on_cores(convert, chunks, arguments.workers))
    write_derived_run(arguments.target, arguments.source, layout=arguments.to)
    print(f"{arguments.target}: {done} score maps as {arguments.to}")
    return 0


def _convert(ids, arguments, tags, classes) -> int:
    for image_id in ids:
        own_tags = tags and tags.read(image_id)
        size = arguments.images and read_image_size(image_path(arguments.images, image_id))
        path = find_score_maps(arguments.source, image_id)
        scores = read_layout(path, arguments.layout, own_tags, size, classes)
        write_layout(Path(arguments.target), image_id, scores, arguments.to)
    return len(ids)


def _export_voc(arguments) -> int:
    classes = read_classes(arguments.classes)
    ids = read_list(arguments.list)
    count = write_voc_archive(arguments.target, arguments.source, ids, len(classes), arguments.competition)
    print(f"{arguments.target}: {count} masks")
    return 0
