"""Superpixels: `raw` segments photographs, `merge` joins raw superpixels by deep features.

Both work image by image and skip what is done, so that they can be stopped and run again.
"""

from __future__ import annotations

from pathlib import Path

from icd.files import read_list


def add_arguments(parser) -> None:
    """Declare the two actions."""
    actions = parser.add_subparsers(dest="action", metavar="{raw,merge}", required=True)
    raw = actions.add_parser("raw", help="graph-based segmentation of every photograph (k = 75, sigma = 0.8)")
    raw.add_argument(
        "--k", type=float, default=75.0, help="threshold constant; its integer is the least size [75]"
    )
    merge = actions.add_parser("merge", help="merge to at most 64 regions by a pretrained network's features")
    merge.add_argument("--raw-root", type=Path, required=True, help="folder of raw superpixels")
    merge.add_argument("--backbone", choices=("vgg16", "mobilenet_v2"), default="vgg16")
    merge.add_argument("--pretrained", type=Path, default=Path("data/pretrained/vgg16_20M.params"))
    merge.add_argument("--limit", type=int, default=64, help="regions left at most [64]")
    merge.add_argument("--gpus", help="GPU number; '' for the CPU")
    for action in (raw, merge):
        action.add_argument("--image-root", type=Path, required=True, help="folder of <id>.jpg")
        action.add_argument("--data-list", type=Path, required=True, help="text file, one id a line")
        action.add_argument("--target", type=Path, required=True, help="folder of <id>.png to write")


def run(arguments) -> int:
    """Carry out one action."""
    ids = read_list(arguments.data_list)
    if arguments.action == "raw":
        from icd.refine.superpixel_stage import raw_superpixels

        raw_superpixels(ids, arguments.image_root, arguments.target, arguments.k)
        return 0
    from icd.engine.build import build_method
    from icd.engine.devices import choose_devices
    from icd.engine.merge import merged_superpixels

    contexts, device = choose_devices(arguments.gpus)
    print(f"Device: {device}")
    method = build_method("cam", arguments.backbone, 1, contexts[:1], pretrained=arguments.pretrained)
    backbone = method.network.backbone
    merged_superpixels(
        ids,
        arguments.image_root,
        arguments.raw_root,
        arguments.target,
        backbone,
        contexts[0],
        arguments.limit,
    )
    return 0
