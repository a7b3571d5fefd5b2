"""Score masks, or score maps with --curve, against the truth. Works without MXNet, for masks of any program.

    icd evaluate results/seeds/crf --truth VOC2012/SegmentationClassAug --list train.txt
    icd evaluate pseudo_labels --truth SegmentationClass --list train.txt --as irn --against irn-voc12
    icd evaluate cams --truth SegmentationClass --list train.txt --curve --as seam

Exit status: 0; 1 where predictions are missing (they are listed); 2 for bad input.
"""

from __future__ import annotations

from icd.cli.flags import add_cluster, at_least
from icd.evaluate.policies import CONVENTIONS, POLICIES
from icd.evaluate.published import published_names
from icd.foreign import LAYOUTS


def add_arguments(parser) -> None:
    """Add the command's arguments to an `argparse` parser."""
    parser.add_argument("predictions", help="folder of masks <id>.png; with --curve of score maps")
    parser.add_argument("--truth", required=True, help="folder of true masks <id>.png, 255 = not scored")
    parser.add_argument("--list", required=True, help="ids, one a line; the originals' lists are understood")
    parser.add_argument(
        "--classes", help="voc, coco, or a file of foreground class names, one a line (default: voc)"
    )
    parser.add_argument(
        "--only",
        help="score these classes alone, by name or number, with commas between, background too if it is to be scored; "
        "others count as 255 in the truth",
    )
    counting = parser.add_mutually_exclusive_group()
    counting.add_argument(
        "--policy",
        choices=POLICIES,
        default="drop",
        help="what 255 in a prediction counts as (default: %(default)s)",
    )
    originals = [name for name in CONVENTIONS if name not in POLICIES]
    counting.add_argument(
        "--as", dest="convention", choices=originals, help="count exactly as this original's evaluator"
    )
    parser.add_argument("--no-boundary", action="store_true", help="leave out boundary IoU")
    parser.add_argument("--json", help="write everything to this file, with how it came about")
    parser.add_argument("--per-image", action="store_true", help="with the mIoU of every image in --json")
    parser.add_argument("--workers", type=at_least(1), help="processes (default: all cores)")
    add_cluster(parser)
    parser.add_argument("--fresh", action="store_true", help="do not go on from an interrupted call")
    _add_curve_arguments(parser.add_argument_group("score maps"))
    _add_published_arguments(parser.add_argument_group("published numbers"))


def _add_curve_arguments(group) -> None:
    group.add_argument("--curve", action="store_true", help="sweep the background threshold over score maps")
    group.add_argument(
        "--threshold", type=float, help="the fixed threshold (default: the one of --as, of the run, or 0.2)"
    )
    group.add_argument("--thresholds", default="0:0.59:0.01", help="first:last:step (default: %(default)s)")
    group.add_argument(
        "--layout", choices=LAYOUTS, help="layout of the maps (default: told from the content)"
    )
    group.add_argument("--tags", help="folder of <id>.xml or file of tags, which the layout icd needs")
    group.add_argument(
        "--normalize",
        action="store_true",
        help="positive part over its maximum, for maps that hold logits (default: as the run that made them)",
    )


def _add_published_arguments(group) -> None:
    names = ", ".join(published_names())
    group.add_argument("--against", help=f"print published numbers beside ours: {names}, or a YAML file")
    group.add_argument(
        "--dataset", help="what the images are, such as coco14 (default: voc12 for VOC's classes)"
    )
    group.add_argument("--stage", choices=("seeds", "walk", "segmentation"), help="what the predictions are")
    group.add_argument("--split", help="the split that --list is (default: its file name, where that is one)")
    group.add_argument("--crf", choices=("yes", "no"), help="whether a dense CRF made the predictions")
    group.add_argument(
        "--extra", help="supervision beyond tags, with commas between, or none (default: from run.json)"
    )
    group.add_argument("--initial-weights", help="what training started from (default: from run.json)")


def run(arguments) -> int:
    """Run the command and return its exit status."""
    from icd.evaluate.command import evaluate  # here: --help is asked for more often, and must be quick
    from icd.stages.cluster import opened

    places = [arguments.predictions, arguments.truth]
    with opened(arguments.cluster, arguments.workers, ".", places) as arguments.workers:
        return evaluate(arguments)
