"""Write a run's report.html: tables, charts and pictures in one page that needs no network.

icd report snapshot/icd --images VOC2012/JPEGImages --truth VOC2012/SegmentationClassAug --list train.txt
icd report their_masks --images photos --truth truth --list val.txt --classes classes.txt
"""

from __future__ import annotations

from icd.cli.flags import at_least
from icd.evaluate.report import MOST_IMAGES, write_report
from icd.files import read_classes


def add_arguments(parser) -> None:
    """Add the command's arguments to an `argparse` parser."""
    parser.add_argument("run", help="run folder, or a folder of masks <id>.png of any program")
    parser.add_argument("--images", help="folder of <id>.jpg (default: as run.json says)")
    parser.add_argument("--truth", help="folder of true masks <id>.png (default: as run.json says)")
    parser.add_argument("--list", help="ids to score and show (default: as run.json says)")
    parser.add_argument(
        "--classes",
        help="voc, coco, or a file of foreground class names (default: as run.json says, else voc)",
    )
    parser.add_argument(
        "--gallery",
        type=int,
        default=60,
        help=f"images to show, at most {MOST_IMAGES} (default: %(default)s)",
    )
    parser.add_argument("--workers", type=at_least(1), help="processes (default: all cores)")


def run(arguments) -> int:
    """Run the command and return its exit status."""
    path = write_report(
        arguments.run,
        image_root=arguments.images,
        truth_root=arguments.truth,
        id_list=arguments.list,
        classes=read_classes(arguments.classes) if arguments.classes else None,
        gallery=arguments.gallery,
        workers=arguments.workers,
    )
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0
