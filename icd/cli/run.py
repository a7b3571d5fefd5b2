"""Run a published pipeline: all stages of a chain, from photographs and tags to scores and a report.

Without any path the run uses VOC 2012 if `icd data prepare` has put it into ./data/VOC2012, else the small embedded data set
(scenes drawn by this package, a small network trained from scratch, a few minutes on a CPU). `icd run CHAIN --help` lists the
stages of a chain, and the recipes of what it trains.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from icd.cli.changes import changes_of, config_entries
from icd.cli.flags import HelpFormatter, add_cluster, add_max_side, add_place, at_least, plain_name, shard
from icd.cli.own_photographs import backbone_at_hand, say_own
from icd.errors import InputError


class ChainHelp(argparse.Action):
    """`--help`, which goes on with what is known of the chain that was named before it."""

    def __init__(self, option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, help=None):
        super().__init__(option_strings, dest, nargs=0, default=default, help=help)

    def __call__(self, parser, namespace, values, option_string=None):
        parser.print_help()
        chain = getattr(namespace, "chain", None)
        print("\n" + (chain_help(chain) if chain else chains_help()))
        parser.exit()


def add_arguments(parser) -> None:
    """Declare the chain and the flags."""
    parser.add_argument("chain", help="name of a published pipeline, such as icd, or a YAML file of stages")
    add_flags(parser)


def add_flags(parser, original=False) -> None:
    """Declare the original's twenty flags, with its defaults, and ours."""
    group = parser.add_argument_group("flags of the original program")
    _add_original(group, original)
    _add_ours(parser.add_argument_group("further flags"), original)
    _add_selection(parser.add_argument_group("stages"))


def _add_original(group, original) -> None:
    add = group.add_argument
    add_place(group, "images", "[data/VOC2012/JPEGImages]", original)
    add_place(group, "tags", "[data/VOC2012/Annotations]", original)
    add_place(group, "superpixels", "; what is missing is computed and kept [data/superpixels/voc_superpixels for VOC, "
              "else below --out]", original)  # fmt: skip
    add_place(
        group, "saliency", ", used with --use-sal, and by eps always [data/saliency/saliency_aug]", original
    )
    add_place(group, "list", ": the images to train on [data/VOC2012/train_aug.txt; own photographs: all with tags]",
              original)  # fmt: skip
    add("--model", type=plain_name, help="beginning of the names of weight files [<backbone>_<method>]")
    add("--pretrained", type=Path, help="backbone weights, .params [where `icd weights` looks for them]")
    add("--num-cls", type=int, help="foreground classes [the number of names in --classes]")
    add("--image-size", type=int, help="side of the training crop [the recipe's; ICD: 321]")
    add("--batch-size", type=int, help="images a step, over all devices [the recipe's; ICD: 32]")
    add("--learning-rate", type=float, help="learning rate at the start [the recipe's; ICD: 0.001]")
    add("--num-epoch", type=int, help="passes over the list [the recipe's; ICD: 20]")
    add(
        "--begin-epoch",
        type=at_least(0),
        default=0,
        help="go on from the checkpoint of the epoch before this one [0]",
    )
    add("--num-sample", type=at_least(0), default=0, help="use only the first images of the list; 0: all [0]")
    add_place(group, "out", "[snapshot/<chain>, such as snapshot/icd]", original)
    add("--num-save", type=at_least(1), help="newest checkpoints kept [5]")
    add("--log-frequency", type=at_least(1), help="steps between two lines of the log [5]")
    add("--gpus", help="GPU numbers such as 0,1; '' for the CPU [0,1, or the CPU where there is no GPU]")
    add("--use-sal", action="store_true", help="also make seeds with saliency")
    add("--only-gen-seeds", action="store_true", help="make seeds from existing score maps")


def _add_ours(group, original) -> None:
    from icd.data.catalogue import CATALOGUE
    from icd.refine.crf import CRF_PRESETS

    add = group.add_argument
    add(
        "--data", choices=sorted(CATALOGUE), help="a data set of the catalogue [what the other flags suggest]"
    )
    add_place(group, "classes", "[voc; without --list the names in --tags, alphabetically]", original)
    add_place(group, "truth", "[data/VOC2012/SegmentationClassAug]", original)
    add_place(group, "truth-list", "[--infer-list]", original)
    add(
        "--infer-list",
        type=Path,
        help="ids to localize and to make masks of; refiners and segmenters learn from these masks [--list]",
    )
    add(
        "--ignore-unknown-tags",
        action="store_true",
        help="leave out tags of classes that are not in --classes, and count them",
    )
    add("--val-list", type=Path, help="ids to score a segmentation network on [data/VOC2012/val.txt]")
    add("--masks", type=Path, help="chain segment: folder of masks <id>.png to train on, of any program")
    add("--network", help="segmentation network: deeplab_v1, deeplab_aspp, deeplab_v2, largefov, or gluoncv:NAME such as "
        "gluoncv:deeplab_resnet101_voc [the chain's]")  # fmt: skip
    add("--backbone", help="of everything that the run trains [the method's own; small for the embedded set]")
    add("--recipe", help="published run whose hyper-parameters are the defaults [voc]")
    add("--seed", type=at_least(0), default=0, help="seed of everything random [0]")
    add("--resume", action="store_true", help="go on where an earlier run with the same flags stopped")
    add("--workers", type=at_least(0), default=2, help="loader processes; 0 loads in the main process [2]")
    add_max_side(group)
    add("--infer-size", type=at_least(8), help="cam and icd: side of the inference frame [513]")
    add("--infer-batch", type=at_least(1), help="images a step of inference, where they can be batched [4]")
    add("--map-type", choices=("float32", "float16"), help="type of the stored score maps [float32]")
    add(
        "--eval-classes",
        help="comma-separated class names to score besides background; others count as ignored",
    )
    add("--choose-epoch", choices=("last", "best"),
        help="the epoch whose weights localize; the true masks choose the best one, as DRS's authors do [last]")  # fmt: skip
    add("--threshold", "--cam-threshold", type=float, help="background threshold of the seeds, a share of a map's maximum, for "
        "rules that have one; the slider in report.html finds it by eye [the method's own]")  # fmt: skip
    add("--no-crf", action="store_true", help="leave out the seeds with CRF")
    add("--crf-preset", choices=sorted(CRF_PRESETS), help="parameters of the CRF [icd]")
    add("--crf-backend", choices=("native", "pydensecrf"), help="whose CRF [native]")
    add(
        "--config",
        type=Path,
        help="YAML file of entries as for --set; for VWE and VWL also their own configs/voc.yaml",
    )
    add("--set", action="append", default=[], metavar="[STAGE.]KEY=VALUE", help="a recipe entry or a stage's setting, of "
        "one stage or of all that have it; may be repeated")  # fmt: skip


def _add_selection(group) -> None:
    add = group.add_argument
    add_cluster(group)
    add("--until", metavar="STAGE", help="stop after this stage")
    add("--only", action="append", default=[], metavar="STAGE", help="do this stage alone; may be repeated")
    add(
        "--redo",
        action="append",
        default=[],
        metavar="STAGE",
        help="make this stage, and all that read it, anew",
    )
    add("--take", action="append", default=[], metavar="STAGE=PATH", help="take somebody else's files, or weights, in the "
        "place of a stage; may be repeated")  # fmt: skip
    add("--shard", type=str, default="1/1", help="K/N: in stages that work image by image do only every N-th image, "
        "from the K-th on; afterwards the same command without --shard scores all images")  # fmt: skip


def run(arguments) -> int:
    """Carry out the command."""
    from icd.engine.world import joined

    with joined() as world:
        return _run(arguments, world)


def _run(arguments, world) -> int:
    from icd.stages.facts import finish, write_own
    from icd.stages.runner import run_stages
    from icd.stages.score import Score

    if arguments.cluster and world.size > 1:
        raise InputError("--cluster", "one process, or icd launch without it", f"{world.size} processes")
    stages, selection = make_stages(arguments, world)
    job = stages[0].job
    try:
        selected = run_stages(stages, selection)
    finally:
        job.close()
    if not world.leads:
        return 0
    write_own(job)
    if job.shard == (1, 1) and any(isinstance(stage, Score) for stage in selected):
        report = finish(arguments.chain, stages, selected)
        print(f"Report: {report}")
    made = [stage for stage in selected if stage.products()]
    if made:
        print(f"{made[-1].name}: {made[-1].folder}")
    return 0


def make_stages(arguments, world=None) -> tuple:
    """The stages of the chain and which of them to do, in a world of its own or with others.

    Raises
    ------
    InputError
        Flags that do not fit each other, or files that are not there.
    """
    from icd.engine.world import World
    from icd.stages.base import Job
    from icd.stages.chain import build_chain, read_chain
    from icd.stages.runner import Selection
    from icd.stages.seeds import Seeds

    lines = read_chain(arguments.chain)
    entries = config_entries(arguments)
    data = _data_set(arguments)
    if data.list is None and not (arguments.backbone or arguments.pretrained):
        data = dataclasses.replace(data, backbone=backbone_at_hand(lines, data))
    out = arguments.out or Path("snapshot") / Path(arguments.chain).stem
    resume = arguments.resume or arguments.begin_epoch > 0
    job = Job(
        data,
        out,
        arguments.gpus,
        arguments.seed,
        arguments.workers,
        resume,
        shard(arguments.shard),
        arguments.ignore_unknown_tags,
        world or World(),
        arguments.cluster,
    )
    stages = build_chain(arguments.chain, job, changes_of(arguments, data, lines, entries))
    only = tuple(arguments.only)
    if arguments.only_gen_seeds:
        only = tuple(s.name for s in stages if isinstance(s, Seeds) or s.kind == "score")
    return stages, Selection(arguments.until, only, tuple(arguments.redo))


def _data_set(arguments):
    """The data set, with the places that the user gives."""
    from icd.data.catalogue import find_data_set

    names = (
        "images",
        "tags",
        "list",
        "classes",
        "superpixels",
        "saliency",
        "truth",
        "truth_list",
        "infer_list",
        "val_list",
        "masks",
    )
    data = find_data_set(arguments.data, {name: getattr(arguments, name) for name in names})
    if data.list is None:
        say_own(data)
    if data.name == "embedded" and arguments.data is None:
        print(f"No data set given: using the embedded one in {data.images.parent}")
    if arguments.num_cls not in (None, len(data.classes)):
        expected = f"{len(data.classes)}, as many as there are class names"
        raise InputError("--num-cls", expected, str(arguments.num_cls), "Give their names with --classes.")
    return dataclasses.replace(data, sample=arguments.num_sample, max_side=arguments.max_side)


def chains_help() -> str:
    """The chains, a line each."""
    from icd.stages.chain import about, chain_names

    return "chains:\n" + "\n".join(f"  {name:16}{about(name)}" for name in chain_names())


def chain_help(chain: str) -> str:
    """The stages of a chain, and the recipes of what it trains, with defaults and meanings."""
    from icd.engine.build import find_trainable
    from icd.stages.chain import read_chain

    parts = [f"stages of {chain}:"]
    trainables = []
    for stage, line in read_chain(chain).items():
        parts.append(f"  {stage:14}" + ", ".join(f"{key}: {value}" for key, value in line.items()))
        trainables += [(stage, line["train"])] if "train" in line else []
    for stage, name in trainables:
        recipes = find_trainable(name).recipes
        default = next(iter(recipes))
        parts.append(
            f"\nrecipe of {stage} (--set {stage}.KEY=VALUE), published runs: {', '.join(recipes)}; here {default}:"
        )
        parts += _entries_help(recipes[default])
    return "\n".join(parts)


def _entries_help(recipe) -> list:
    from icd.recipe import meaning_of

    return [
        f"  {field.name:22}{getattr(recipe, field.name)!s:24}{meaning_of(type(recipe), field.name).text}"
        for field in dataclasses.fields(recipe)
    ]


def parser_of(program: str, description: str) -> argparse.ArgumentParser:
    """A parser of its own with all flags under the original's names, for `run_icd.py`."""
    parser = argparse.ArgumentParser(prog=program, description=description, formatter_class=HelpFormatter)
    add_flags(parser, original=True)
    return parser
