"""Tags to pseudo masks in one command: superpixels, training, localization, seeds, scores, report.

Without any path the run uses VOC 2012 if `icd data prepare` has put it into ./data/VOC2012, else the small embedded
data set (scenes drawn by this package, a small network trained from scratch, a few minutes on a CPU).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import yaml

from icd.classes import evaluated_numbers
from icd.cli.flags import at_least
from icd.errors import InputError

VOC = Path("data/VOC2012")
EMBEDDED = Path("data/embedded")
EMBEDDED_INFER_SIZE = 161
TEACHER = "teacher."  # before the names of its recipe's entries
# Flags that are entries of a `Run` under the same name.
SAME_NAME = (
    "method", "infer_batch", "workers", "seed", "num_save", "log_frequency", "num_sample", "crf_preset",
    "crf_backend", "eval_list", "infer_list", "map_type", "choose_epoch", "resume",
    "begin_epoch",
)  # fmt: skip


def add_arguments(parser) -> None:
    """Declare the method and the flags."""
    from icd.methods import METHODS

    parser.add_argument("method", choices=sorted(METHODS), help="the published method to run")
    add_flags(parser)


def add_flags(parser) -> None:
    """Declare the original's twenty flags, with its defaults, and ours."""
    from icd.refine.crf import CRF_PRESETS

    original = parser.add_argument_group("flags of the original program")
    add = original.add_argument
    add("--image-root", type=Path, help=f"folder of <id>.jpg [{VOC}/JPEGImages]")
    add("--annotation-root", type=Path, help="folder of <id>.xml, or one file of tags (.npy, .json, .csv, .txt) "
        f"[{VOC}/Annotations]")  # fmt: skip
    add("--superpixel-root", type=Path, help="folder of <id>.png; what is missing is computed and kept "
        "[data/superpixels/voc_superpixels]")  # fmt: skip
    add(
        "--saliency-root",
        type=Path,
        help="folder of <id>.png, used with --use-sal, and by eps always [data/saliency/saliency_aug]",
    )
    add("--data-list", type=Path, help=f"text file, one id a line [{VOC}/train_aug.txt]")
    add("--model", help="beginning of checkpoint names [<backbone>_<method>]")
    add(
        "--pretrained", type=Path, help="backbone weights, MXNet .params [where `icd weights` looks for them]"
    )
    add("--num-cls", type=int, help="foreground classes [the number of names in --classes]")
    add("--image-size", type=int, help="side of the training crop [ICD: 321]")
    add("--batch-size", type=int, help="images a step, over all devices [ICD: 32]")
    add("--learning-rate", type=float, help="at the start [ICD: 0.001]")
    add("--num-epoch", type=int, help="passes over the list [ICD: 20]")
    add(
        "--begin-epoch",
        type=int,
        default=0,
        help="go on from the checkpoint of the epoch before this one [0]",
    )
    add("--num-sample", type=at_least(0), default=0, help="use only the first images of the list; 0: all [0]")
    add("--snapshot", type=Path, help="output folder [snapshot/<method>, such as snapshot/icd]")
    add("--num-save", type=at_least(1), default=5, help="newest checkpoints kept [5]")
    add("--log-frequency", type=at_least(1), default=5, help="steps between two lines of the log [5]")
    add("--gpus", help="GPU numbers such as 0,1; '' for the CPU [0,1, or the CPU where there is no GPU]")
    add("--use-sal", action="store_true", help="also make the seeds that use saliency")
    add("--only-gen-seeds", action="store_true", help="make seeds from score maps that are there already")
    ours = parser.add_argument_group("further flags")
    add = ours.add_argument
    add(
        "--backbone",
        help="vgg16, vgg16_torchvision, resnet38, mobilenet_v2 or small [the method's own; small for the embedded set]",
    )
    add("--recipe", help="published run whose hyper-parameters are the defaults [voc]")
    add("--seed", type=int, default=0, help="of everything random [0]")
    add("--resume", action="store_true", help="go on where an earlier run with the same flags stopped")
    add("--workers", type=at_least(0), default=2, help="loader processes; 0 loads in the main process [2]")
    add(
        "--infer-size",
        type=int,
        help="cam and icd: side of the inference frame; larger images are scaled down [513]",
    )
    add(
        "--infer-batch",
        type=at_least(1),
        default=4,
        help="images a step of inference, where they can be batched [4]",
    )
    add("--eval-root", type=Path, help=f"folder of true masks <id>.png [{VOC}/SegmentationClassAug]")
    add("--eval-list", type=Path, help="ids to score [--infer-list]")
    add("--infer-list", type=Path, help="ids to localize and to make seeds of [--data-list]")
    add(
        "--map-type",
        choices=("float32", "float16"),
        help="type of the stored score maps; half the disk with float16 [float32]",
    )
    add(
        "--eval-classes",
        help="comma-separated class names to score besides background; others count as ignored",
    )
    add("--classes", type=Path, help="voc, coco, or a text file of class names [voc]")
    add(
        "--shard",
        default="1/1",
        help="K/N, for a training that is finished: localize and make seeds of every N-th image only, from the K-th on; "
        "afterwards the same command with --resume and without --shard scores them all",
    )
    add(
        "--choose-epoch",
        choices=("last", "best"),
        default="last",
        help="whose weights localize: best is chosen with the true masks of --eval-list, as DRS's authors do [last]",
    )
    add("--no-crf", action="store_true", help="leave out the seeds with CRF")
    add("--crf-preset", choices=sorted(CRF_PRESETS), default="icd", help="parameters of the CRF [icd]")
    add("--config", type=Path, help="YAML file of recipe entries that differ from the published ones")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="one recipe entry; may be repeated; "
        "teacher.KEY for the recipe of the method's first step")  # fmt: skip
    add("--crf-backend", choices=("native", "pydensecrf"), default="native", help="[native]")


def run(arguments) -> int:
    """Carry out the command."""
    from icd import pipeline

    settings = make_run(arguments)
    trains = _trains(arguments)
    steps = [settings.teacher, settings] if trains and settings.teacher else [settings]
    if trains:
        for step in steps:
            pipeline.check_network(step)
        for step in steps:
            pipeline.make_superpixels(step)
        pipeline.check_inputs(settings)
    for step in steps:
        if trains:
            pipeline.train(step)
        if not arguments.only_gen_seeds:
            pipeline.localize_images(step)
        if step is settings:
            pipeline.generate_seeds(step)
        if trains:
            pipeline.write_run_facts(step)
    if settings.shard == (1, 1):
        if not trains:
            pipeline.add_seed_facts(settings)
        finish(settings)
    return 0


def finish(settings) -> None:
    """Score, write the report, and print the table."""
    from icd import pipeline
    from icd.evaluate.report import write_report

    pipeline.picture_classes(settings)
    if settings.eval_root is not None:
        print(score_table(pipeline.score_seeds(settings)))
    report = write_report(settings.snapshot)
    print(f"Seeds: {settings.snapshot / 'results'}\nReport: {report}")


def score_table(entries: list) -> str:
    """The mIoU of every kind of seeds and variant, in per cent, as text."""
    variants = list(dict.fromkeys(entry["variant"] for entry in entries))
    titles = {"nocrf": "no CRF", "crf": "CRF", "sal": "saliency"}
    lines = ["mIoU in %".ljust(12) + "".join(titles[v].rjust(10) for v in variants)]
    for kind in dict.fromkeys(entry["kind"] for entry in entries):
        values = {e["variant"]: e["miou"] for e in entries if e["kind"] == kind}
        lines.append(
            f"{kind.upper()} seeds".ljust(12) + "".join(f"{100 * values[v]:10.2f}" for v in variants)
        )
    return "\n".join(lines)


def make_run(arguments):
    """Turn the flags into a `icd.pipeline.Run`, filling in what depends on the data set.

    Raises
    ------
    InputError
        Flags that do not fit each other, or files that are not there.
    """
    from icd.engine.devices import choose_devices
    from icd.methods import METHODS, make_recipe
    from icd.pipeline import Run, needs_pretrained

    values = _data_set(arguments)
    classes = values["classes"]
    backbone = arguments.backbone or values["backbone"] or METHODS[arguments.method].backbone
    if arguments.num_cls not in (None, len(classes)):
        expected = f"{len(classes)}, as many as there are class names"
        raise InputError("--num-cls", expected, str(arguments.num_cls), "Give their names with --classes.")
    contexts, device = choose_devices(arguments.gpus)
    print(f"Device: {device}")
    values.update({name: getattr(arguments, name) for name in SAME_NAME})
    values.update(
        snapshot=arguments.snapshot or Path("snapshot") / arguments.method,
        backbone=backbone,
        model=arguments.model or f"{backbone}_{arguments.method}",
        contexts=contexts,
        device=device,
        pretrained=_pretrained(arguments, backbone) if needs_pretrained(backbone) else arguments.pretrained,
        use_saliency=arguments.use_sal or values["use_saliency"],
        eval_classes=_with_background(arguments.eval_classes, classes),
        infer_size=arguments.infer_size or values["infer_size"],
        shard=_shard(arguments.shard),
        crf=not arguments.no_crf,
    )
    if arguments.choose_epoch == "best" and values["eval_root"] is None:
        raise InputError("--choose-epoch best", "true masks to choose with", "none", "Give --eval-root.")
    own, teachers = _changes(arguments)
    published = arguments.recipe or values.pop("recipe")
    values["recipe"] = make_recipe(arguments.method, own, published)
    run, teacher = Run(**values), METHODS[arguments.method].teacher
    if teacher is None:
        if teachers:
            raise InputError(
                "--set", f"entries of {arguments.method}'s recipe", TEACHER + next(iter(teachers))
            )
        return run
    taught = make_recipe(teacher, teachers, published)
    if taught.image_size != run.recipe.image_size:
        expected = f"{taught.image_size}, the side of {teacher}'s score maps"
        remedy = "Give --set teacher.image_size=... too."
        raise InputError("image_size", expected, str(run.recipe.image_size), remedy)
    return replace(
        run,
        teacher=replace(
            run,
            method=teacher,
            recipe=taught,
            snapshot=run.snapshot / "teacher",
            model=f"{backbone}_{teacher}",
            infer_list=None,
            map_type=None,
            begin_epoch=0,
            resume=run.resume or run.begin_epoch > 0,
        ),
    )


def _changes(arguments) -> tuple:
    """Recipe entries from --config, --set and the original's flags, the later ones winning; the method's and its teacher's."""
    changes = read_recipe_file(arguments.config) if arguments.config else {}
    for text in arguments.set:
        key, separator, value = text.partition("=")
        if not separator:
            raise InputError("--set", "KEY=VALUE", repr(text))
        changes[key.strip()] = yaml.safe_load(value)
    for name in ("image_size", "batch_size", "num_epoch", "learning_rate"):
        if getattr(arguments, name) is not None:
            changes[name] = getattr(arguments, name)
    teachers = {key[len(TEACHER) :]: value for key, value in changes.items() if key.startswith(TEACHER)}
    return {key: value for key, value in changes.items() if not key.startswith(TEACHER)}, teachers


def read_recipe_file(path) -> dict:
    """Read a YAML mapping of recipe entries."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(path, "a YAML file of recipe entries", "nothing there") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(path, "a YAML file of recipe entries", str(error).splitlines()[0]) from None
    if not isinstance(content, dict):
        raise InputError(path, "a mapping such as 'learning_rate: 0.001'", type(content).__name__)
    return content


def _data_set(arguments) -> dict:
    """The entries of a `Run` that depend on the data: as given, else VOC's places, else the embedded set."""
    from icd.files import read_classes  # here, so that a broken OpenCV is reported in one line

    given = any((arguments.image_root, arguments.annotation_root, arguments.data_list))
    if not given and not (VOC / "train_aug.txt").is_file():
        return _embedded(arguments)
    eval_root = arguments.eval_root
    if eval_root is None and not given and (VOC / "SegmentationClassAug").is_dir():
        eval_root = VOC / "SegmentationClassAug"
    return {
        "image_root": arguments.image_root or VOC / "JPEGImages",
        "annotation_root": arguments.annotation_root or VOC / "Annotations",
        "data_list": arguments.data_list or VOC / "train_aug.txt",
        "superpixel_root": arguments.superpixel_root or Path("data/superpixels/voc_superpixels"),
        "saliency_root": arguments.saliency_root or Path("data/saliency/saliency_aug"),
        "eval_root": eval_root,
        "classes": read_classes(arguments.classes),
        "backbone": None,
        "recipe": None,
        "infer_size": 513,
        "use_saliency": False,
    }


def _embedded(arguments) -> dict:
    from icd.data.embedded import prepare_embedded
    from icd.files import read_classes

    print(f"No data set given: using the embedded one in {EMBEDDED}")
    paths = prepare_embedded(EMBEDDED)
    return {
        "image_root": paths.image_root,
        "annotation_root": paths.annotation_root,
        "data_list": paths.data_list,
        "superpixel_root": arguments.superpixel_root or EMBEDDED / "superpixels",
        "saliency_root": arguments.saliency_root or paths.saliency_root,
        "eval_root": arguments.eval_root or paths.truth_root,
        "classes": read_classes(arguments.classes or paths.classes_file),
        "backbone": "small",
        "recipe": "embedded",
        "infer_size": EMBEDDED_INFER_SIZE,
        "use_saliency": True,
    }


def _pretrained(arguments, backbone: str):
    from icd.weights.registry import backbone_file, explain

    if not _trains(arguments):
        return None
    default = backbone_file(backbone)
    path = arguments.pretrained or default
    if not path.is_file():
        remedy = f"{explain(default.name)} --pretrained names another place."
        raise InputError(path, f"pretrained weights of {backbone}", "nothing there", remedy)
    return path


def _with_background(text, classes):
    if text is None:
        return None
    return tuple(sorted({0, *evaluated_numbers(text, classes, "--eval-classes")}))


def _trains(arguments) -> bool:
    return _shard(arguments.shard) == (1, 1) and not arguments.only_gen_seeds


def _shard(text: str) -> tuple:
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        raise InputError("--shard", "K/N, such as 3/16", repr(text)) from None
    if not 1 <= index <= count:
        raise InputError("--shard", "K/N with K from 1 to N", repr(text))
    return index, count


def parser_of(program: str, description: str) -> argparse.ArgumentParser:
    """A parser of its own with all flags, for `run_icd.py`."""
    parser = argparse.ArgumentParser(
        prog=program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser)
    return parser
