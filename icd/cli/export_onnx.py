"""Write the network of a trained method as ONNX: images to score maps, for ONNX Runtime and others, without MXNet.

icd export-onnx snapshot/icd
icd export-onnx --method icd --backbone vgg16 --weights vgg16_icd-0019.params --target icd.onnx

The first takes everything from the run folder, the second a method with its published recipe. Images of any number and size
can be localized with the result. docs/onnx.md says how.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import icd
from icd.backbones import BACKBONES
from icd.compat import mx
from icd.engine.build import build_trainable
from icd.engine.onnx_export import check_onnx, onnx_model
from icd.engine.parameters import load_checkpoint_weights
from icd.errors import InputError
from icd.files import read_classes, write_atomic
from icd.methods import METHODS, make_recipe
from icd.provenance import FILE, file_sha256, read_run
from icd.recipe import BaseRecipe

INFER_SIZE = 513  # where no run folder says it: the default of `icd run`

INPUT_CONVENTION = (
    "float32 (N, 3, H, W), RGB, 0..255; cell (i, j) of the grid lies on pixel (stride i, stride j)"
)


class TrainedMethod(NamedTuple):
    """What a model is made of; the classes, the recipe and the side of the inference frame are those of the training."""

    method: str
    backbone: str
    classes: tuple
    recipe: BaseRecipe
    infer_size: int
    weights: Path


def add_arguments(parser) -> None:
    """Add the command's arguments to an `argparse` parser."""
    parser.add_argument("run", nargs="?", type=Path, help="folder of a finished run (its --snapshot)")
    parser.add_argument("--method", choices=sorted(METHODS), help="without a run folder: the method")
    parser.add_argument("--backbone", choices=sorted(BACKBONES), help="without a run folder: its backbone")
    parser.add_argument(
        "--classes", type=Path, help="without a run folder: file of class names [VOC's twenty]"
    )
    parser.add_argument("--weights", type=Path, help=".params file [those of the run's last epoch]")
    parser.add_argument("--target", type=Path, help="file to write [beside the weights, .onnx]")


def run(arguments) -> int:
    """Run the command and return its exit status."""
    check_onnx()
    trained = from_run(arguments) if arguments.run else from_flags(arguments)
    method = build_trainable(
        trained.method, trained.backbone, len(trained.classes), [mx.cpu()], recipe=trained.recipe
    )
    load_checkpoint_weights(method, trained.weights)
    target = arguments.target or trained.weights.with_suffix(".onnx")
    write_atomic(target, onnx_model(method, facts_of(trained)).SerializeToString())
    print(usage(target, method.score_maps))
    return 0


def from_run(arguments) -> TrainedMethod:
    """What a run folder holds.

    Raises
    ------
    InputError
        The folder's training has not finished, or flags contradict it.
    """
    folder = arguments.run
    for name in ("method", "backbone", "classes"):
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name}", f"nothing, since {folder} says it", "a value", "Leave it out.")
    facts = read_run(folder)
    try:
        weights = arguments.weights or folder / facts["weights"]
        names = facts["method"], facts["backbone"], tuple(facts["classes"])
        recipe, infer_size = make_recipe(facts["method"], facts["recipe"]), facts["infer_size"]
    except (KeyError, TypeError, AttributeError) as error:
        remedy = "Train first, or name --method, --backbone and --weights instead of the folder."
        raise InputError(folder / FILE, "the facts of a finished training", f"no {error}", remedy) from None
    return TrainedMethod(*names, recipe, infer_size, weights)


def from_flags(arguments) -> TrainedMethod:
    """What the flags say, with the published recipe."""
    missing = [f"--{name}" for name in ("method", "backbone", "weights") if not getattr(arguments, name)]
    if missing:
        remedy = "Or give --method, --backbone and --weights (and --classes)."
        raise InputError("arguments", "a run folder", f"none, and no {', '.join(missing)}", remedy)
    recipe, classes = make_recipe(arguments.method), read_classes(arguments.classes)
    return TrainedMethod(arguments.method, arguments.backbone, classes, recipe, INFER_SIZE, arguments.weights)


def facts_of(trained: TrainedMethod) -> dict:
    """The model's metadata: where it comes from, and what `icd.engine.localize.score_maps_of` must know."""
    method = METHODS[trained.method]
    presentation = method.presentation(trained.recipe, trained.infer_size)
    return {
        "method": trained.method,
        "backbone": trained.backbone,
        "classes": trained.classes,
        "stride": BACKBONES[trained.backbone].stride,
        "input": INPUT_CONVENTION,
        "presentation": {type(presentation).__name__: asdict(presentation)},
        "fusion": method.fusion,
        "mirror_fusion": method.mirror_fusion,
        "alignment": method.alignment,
        "normalization": method.normalization,
        "map_type": method.map_type,
        "recipe": asdict(trained.recipe),
        "weights_sha256": file_sha256(trained.weights),
        "icd_version": icd.__version__,
    }


def usage(target: Path, score_maps: tuple) -> str:
    """What was written, and how to use it."""
    maps = ", ".join(score_maps)
    return f"""{target}: {target.stat().st_size / 1e6:.1f} MB, checked. Images (N, 3, H, W) of any number and size to {maps}:
    import onnxruntime
    session = onnxruntime.InferenceSession({str(target)!r}, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    [{maps}] = session.run(None, {{"image": images}})  # float32, RGB, 0..255"""
