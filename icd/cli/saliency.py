"""Make saliency maps of photographs with a network of U^2-Net's kind (.onnx), for methods that need them: eps, drs, --use-sal.

icd saliency photos saliency
icd run eps --images photos --tags tags.csv --saliency saliency

It works image by image and goes on where it was stopped. The network was trained on masks of salient objects, so what uses its
maps uses supervision beyond tags; run.json and the tables say so.
"""

from __future__ import annotations

from pathlib import Path

from icd.cli.flags import add_max_side, add_place
from icd.weights.registry import FOLDER, explain

MODEL = FOLDER / "u2netp.onnx"


def add_arguments(parser) -> None:
    """Declare the arguments."""
    parser.add_argument("images", metavar="IMAGES", type=Path, help="folder of photographs")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder of saliency maps <id>.png to fill")
    parser.add_argument("--model", type=Path, default=MODEL, help="the network [%(default)s]")
    add_place(parser, "list", ": the photographs to work on [all of the folder]")
    add_max_side(parser)


def run(arguments) -> int:
    """Make the maps."""
    from icd.data.catalogue import DataSet
    from icd.engine.saliency import SaliencyModel
    from icd.stages.base import Job
    from icd.stages.saliency import Saliency

    SaliencyModel(
        arguments.model, origin=explain(MODEL.name)
    )  # before anything is written: is it there, and what it should be?
    data = DataSet("folder", (), arguments.images, None, arguments.list, max_side=arguments.max_side)
    stage = Saliency("saliency", Job(data, arguments.out), arguments.out, arguments.model)
    stage.refuse_conflict()
    images, left = len(stage.share()), len(stage.left())
    stage.run()
    print(
        f"Saliency: {arguments.out} (made: {left}, there before: {images - left}). It counts as extra supervision."
    )
    return 0
