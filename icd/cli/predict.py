"""Predict the masks of photographs by a segmentation network that was exported as ONNX. Needs no MXNet.

    icd export-onnx snapshot/segment
    icd predict --onnx snapshot/segment/mobilenet_v2_largefov-0006.onnx photographs out

Masks go to OUT/masks/<id>.png, pictures for people to OUT/overlays/<id>.jpg, the names of the numbers to OUT/classes.txt. The
command can be stopped and repeated: what is there is not made again. Exit status: 0; 1 where photographs could not be read.
"""

from __future__ import annotations

from pathlib import Path

from icd.cli.flags import add_max_side, add_place, shard


def add_arguments(parser) -> None:
    """Declare the flags."""
    parser.add_argument("images", type=Path, help="folder of photographs")
    parser.add_argument("out", type=Path, help="folder for masks and overlays")
    parser.add_argument("--onnx", type=Path, required=True, help="segmentation network of `icd export-onnx`")
    add_place(parser, "list", "[all photographs of the folder]")
    parser.add_argument(
        "--crf", action="store_true", help="refine by the CRF of the network's recipe: sharper, slower"
    )
    add_max_side(parser)
    parser.add_argument("--shard", type=shard, default=(1, 1), help="K/N: this process's share of the images")


def run(arguments) -> int:
    """Predict what is left."""
    from icd.data.catalogue import DataSet
    from icd.engine.predict import OnnxSegmenter
    from icd.files import write_atomic
    from icd.stages.base import Job
    from icd.stages.predict_onnx import PredictOnnx

    segmenter = OnnxSegmenter(arguments.onnx)
    data = DataSet(
        "folder", segmenter.classes, arguments.images, None, arguments.list, max_side=arguments.max_side
    )
    job = Job(data, arguments.out, shard=arguments.shard)
    stage = PredictOnnx("predict", job, arguments.out, segmenter, arguments.crf)
    stage.check()
    stage.refuse_conflict()
    stage.run()
    write_atomic(arguments.out / "classes.txt", "".join(f"{name}\n" for name in segmenter.classes).encode())
    images, left = len(stage.share()), len(stage.left())
    print(f"Masks of {images - left} of {images} photographs: {stage.products()['predict']}")
    print(f"Pictures of them: {stage.overlays}")
    return 1 if left else 0
