"""Write a trained network as ONNX, for ONNX Runtime and others, without MXNet: images to score maps, or to logits of classes.

icd export-onnx snapshot/icd
icd export-onnx snapshot/icd/segment
icd export-onnx --method icd --backbone vgg16 --weights vgg16_icd-0019.params --target icd.onnx

The first takes everything from the run folder: the network that makes the score maps, or that of the chain `segment`. The second
takes another training of the run, the third weights from anywhere with their published recipe. A method makes score maps
(docs/onnx.md says how), a segmentation network is what `icd predict --onnx` takes. Images may have any number and size.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import icd
from icd.backbones import BACKBONES
from icd.compat import mx
from icd.engine.build import build_trainable, find_trainable
from icd.engine.onnx_export import check_onnx, onnx_model
from icd.engine.parameters import load_checkpoint_weights
from icd.engine.predict import prediction_facts
from icd.errors import InputError
from icd.files import read_classes, write_atomic
from icd.methods import METHODS
from icd.provenance import FILE, file_sha256, read_run
from icd.recipe import BaseRecipe, changed_recipe
from icd.refine.trained import REFINERS
from icd.segment import SEGMENTERS
from icd.stages.record import read_record

INFER_SIZE = 513  # where no run folder says it: the default of `icd run`

INPUT_CONVENTION = (
    "float32 (N, 3, H, W), RGB, 0..255; cell (i, j) of the grid lies on pixel (stride i, stride j)"
)


class Trained(NamedTuple):
    """What a model is made of; the classes, the recipe and the side of the inference frame are those of the training."""

    name: str
    backbone: str
    classes: tuple
    recipe: BaseRecipe
    infer_size: int
    weights: Path


def add_arguments(parser) -> None:
    """Add the command's arguments to an `argparse` parser."""
    parser.add_argument(
        "run", nargs="?", type=Path, help="folder of a finished run (its --out), or of one of its trainings"
    )
    parser.add_argument(
        "--method",
        choices=sorted((*METHODS, *SEGMENTERS)),
        help="without a run folder: the method or segmentation network",
    )
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
    trainable = build_trainable(
        trained.name, trained.backbone, len(trained.classes), [mx.cpu()], recipe=trained.recipe
    )
    load_checkpoint_weights(trainable, trained.weights)
    target, predicts = arguments.target or trained.weights.with_suffix(".onnx"), hasattr(trainable, "predict")
    facts = facts_of_segmenter(trainable) if predicts else facts_of_method(trained)
    write_atomic(target, onnx_model(trainable, {**facts_of(trained), **facts}).SerializeToString())
    print(usage_of_segmenter(target) if predicts else usage(target, trainable.score_maps))
    return 0


def from_run(arguments) -> Trained:
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
    facts = read_run(folder) or facts_of_training(folder)
    try:
        weights = arguments.weights or folder / facts["weights"]
        names = facts["method"], facts["backbone"], tuple(facts["classes"])
        recipe = changed_recipe(facts["method"], find_trainable(facts["method"]).recipes, facts["recipe"])
        infer_size = facts["infer_size"]
    except (KeyError, TypeError, AttributeError) as error:
        remedy = "Train first, or name --method, --backbone and --weights instead of the folder."
        raise InputError(folder / FILE, "the facts of a finished training", f"no {error}", remedy) from None
    if facts["method"] in REFINERS:
        remedy = "Export the method or the segmentation network."
        raise InputError(folder, "a network that maps images to classes", facts["method"], remedy)
    return Trained(*names, recipe, infer_size, weights)


def facts_of_training(folder: Path) -> dict:
    """What a training's own folder says, as far as `run.json` would; its weights are those of the last epoch."""
    record = read_record(folder)
    weights = sorted(folder.glob("*-[0-9][0-9][0-9][0-9].params"))
    if record.get("kind") != "train" or not weights:
        return {}
    facts = record["facts"]
    known = {name: facts.get(name) for name in ("backbone", "classes", "recipe")}
    return {**known, "method": facts.get("trainable"), "weights": weights[-1].name, "infer_size": INFER_SIZE}


def from_flags(arguments) -> Trained:
    """What the flags say, with the published recipe."""
    missing = [f"--{name}" for name in ("method", "backbone", "weights") if not getattr(arguments, name)]
    if missing:
        remedy = "Or give --method, --backbone and --weights (and --classes)."
        raise InputError("arguments", "a run folder", f"none, and no {', '.join(missing)}", remedy)
    recipe = next(iter(find_trainable(arguments.method).recipes.values()))
    classes = read_classes(arguments.classes)
    return Trained(arguments.method, arguments.backbone, classes, recipe, INFER_SIZE, arguments.weights)


def facts_of(trained: Trained) -> dict:
    """Metadata of every model: where it comes from."""
    return {
        "method": trained.name,
        "backbone": trained.backbone or "its own",
        "classes": trained.classes,
        "recipe": asdict(trained.recipe),
        "weights_sha256": file_sha256(trained.weights),
        "icd_version": icd.__version__,
    }


def facts_of_method(trained: Trained) -> dict:
    """What `icd.engine.localize.score_maps_of` must know of a method."""
    method = METHODS[trained.name]
    presentation = method.presentation(trained.recipe, trained.infer_size)
    return {
        "stride": getattr(trained.recipe, "stride", None) or BACKBONES[trained.backbone].stride,
        "input": INPUT_CONVENTION,
        "presentation": {type(presentation).__name__: asdict(presentation)},
        "fusion": method.fusion,
        "mirror_fusion": method.mirror_fusion,
        "alignment": method.alignment,
        "normalization": method.normalization,
        "map_type": method.map_type,
    }


def facts_of_segmenter(segmenter) -> dict:
    """What `icd.engine.predict.OnnxSegmenter` must know of a segmentation network."""
    return {"input": "float32 (N, 3, H, W), as the views of the presentation", **prediction_facts(segmenter)}


def usage_of_segmenter(target: Path) -> str:
    """What was written, and how to use it."""
    return f"""{target}: {target.stat().st_size / 1e6:.1f} MB, checked. Masks of photographs:
    icd predict --onnx {shlex.quote(str(target))} photographs out"""


def usage(target: Path, score_maps: tuple) -> str:
    """What was written, and how to use it."""
    maps = ", ".join(score_maps)
    return f"""{target}: {target.stat().st_size / 1e6:.1f} MB, checked. Images (N, 3, H, W) of any number and size to {maps}:
    import onnxruntime
    session = onnxruntime.InferenceSession({str(target)!r}, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    [{maps}] = session.run(None, {{"image": images}})  # float32, RGB, 0..255"""
