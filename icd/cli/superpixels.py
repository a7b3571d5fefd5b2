"""Superpixels: `raw` segments photographs, `merge` segments them and joins the segments by deep features.

Both work image by image and skip what is done, so that they can be stopped and run again.
"""

from __future__ import annotations

from pathlib import Path

from icd.cli.flags import add_cluster, add_max_side, add_place, at_least


def add_arguments(parser) -> None:
    """Declare the two actions."""
    actions = parser.add_subparsers(dest="action", metavar="{raw,merge}", required=True)
    raw = actions.add_parser("raw", help="graph-based segmentation of every photograph (k = 75, sigma = 0.8)")
    merge = actions.add_parser("merge", help="then at most 64 regions, by a pretrained network's features")
    merge.add_argument("--backbone", choices=("vgg16", "mobilenet_v2"), default="vgg16")
    merge.add_argument("--pretrained", type=Path, default=Path("data/pretrained/vgg16_20M.params"))
    merge.add_argument("--limit", type=int, default=64, help="regions left at most [64]")
    merge.add_argument("--gpus", help="GPU number; '' for the CPU")
    for action in (raw, merge):
        action.add_argument(
            "--k", type=float, default=75.0, help="threshold constant; its integer is the least size [75]"
        )
        add_place(action, "images", required=True)
        add_place(action, "list", required=True)
        action.add_argument("--out", "--target", type=Path, required=True, help="folder of <id>.png to write")
        add_max_side(action, bounded=action is merge)  # raw ones are for other programs too
        action.add_argument("--workers", type=at_least(0), default=2, help="processes [2]")
        add_cluster(action)


def run(arguments) -> int:
    """Carry out one action."""
    from icd.classes import VOC_CLASSES
    from icd.data.catalogue import DataSet
    from icd.stages.base import Job
    from icd.stages.superpixels import Superpixels

    data = DataSet("folder", VOC_CLASSES, arguments.images, None, arguments.list, max_side=arguments.max_side)
    merging = {}
    if arguments.action == "merge":
        merging = {name: getattr(arguments, name) for name in ("limit", "backbone", "pretrained")}
    job = Job(data, arguments.out, getattr(arguments, "gpus", None), workers=arguments.workers,
              cluster_address=arguments.cluster)  # fmt: skip
    stage = Superpixels("superpixels", job, arguments.out, k=arguments.k, **merging)
    stage.refuse_conflict()
    try:
        stage.run()
    finally:
        job.close()
    return 0
