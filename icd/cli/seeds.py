"""Make seeds from folders of score maps: ours (.npz), or those of the originals (.npy), which are told apart by content.

The rule `icd` reads two kinds of maps (top-down logits and CAM), every other rule one.
"""

from __future__ import annotations

from pathlib import Path

from icd.cli.flags import add_cluster, add_max_side, add_place, at_least, classes_of_maps
from icd.errors import InputError
from icd.provenance import run_of, supervision_of, write_derived_run

NEEDED = {"crf": "images", "sal": "saliency"}


def add_arguments(parser) -> None:
    """Declare the flags."""
    from icd.methods import SEED_RULES
    from icd.refine.crf import CRF_PRESETS
    from icd.refine.seeds import CAM_THRESHOLD
    from icd.stages.seeds import VARIANTS

    add = parser.add_argument
    add("--rule", choices=tuple(SEED_RULES), required=True, help="how a seed is made from score maps")
    add("--maps", "--map-root", type=Path, required=True, help="folder of score maps")
    add("--cam", "--cam-root", type=Path, help="folder of the CAM beside ICD's own maps, for the rule icd")
    add_place(parser, "list", required=True)
    add("--out", "--target", type=Path, required=True, help="masks go to OUT/<variant>/<id>.png")
    add("--variants", default="nocrf,crf", help=f"some of {','.join(VARIANTS)} [nocrf,crf]")
    add_place(parser, "images", ", for the variant crf and for ICD's own .npy")
    add_place(parser, "tags", ": ICD's own .npy do not say their classes")
    add_place(parser, "saliency", ", for the variant sal")
    add_place(parser, "classes", "[those of the maps' run, else voc]")
    add(
        "--threshold", "--cam-threshold", type=float, help=f"share of the maximum, rule cam [{CAM_THRESHOLD}]"
    )
    add("--crf-preset", choices=sorted(CRF_PRESETS), default="icd", help="parameters of the CRF [icd]")
    add("--crf-backend", choices=("native", "pydensecrf"), default="native", help="whose CRF [native]")
    add_max_side(parser)
    add("--workers", type=at_least(0), default=2, help="processes [2]")
    add_cluster(parser)


def run(arguments) -> int:
    """Make the seeds."""
    from icd.data.catalogue import DataSet
    from icd.stages.base import Job
    from icd.stages.seeds import Seeds

    variants = tuple(arguments.variants.split(","))
    _check(arguments, variants)
    data = DataSet(
        "folder",
        classes_of_maps(arguments),
        arguments.images,
        arguments.tags,
        arguments.list,
        saliency=arguments.saliency,
        max_side=arguments.max_side,
    )
    job = Job(data, arguments.out, workers=arguments.workers, cluster_address=arguments.cluster)
    stage = Seeds(
        "seeds", job, arguments.out, _given_maps(arguments, job), variants, arguments.threshold, arguments.crf_preset,
        arguments.crf_backend, flat=True,
    )  # fmt: skip
    stage.refuse_conflict()
    try:
        stage.run()
    finally:
        job.close()
    write_derived_run(arguments.out, arguments.maps, **_facts(arguments, stage))
    print(f"Seeds: {arguments.out}")
    return 0


def _check(arguments, variants) -> None:
    from icd.stages.seeds import VARIANTS

    unknown = [variant for variant in variants if variant not in VARIANTS]
    if unknown:
        raise InputError("--variants", "some of " + ", ".join(VARIANTS), ", ".join(unknown))
    for variant, name in NEEDED.items():
        if variant in variants and getattr(arguments, name) is None:
            raise InputError(f"--{name}", f"a folder, for the variant {variant}", "none")
    if arguments.rule == "icd" and arguments.cam is None:
        raise InputError("--cam", "a folder, for the rule icd", "none")


def _given_maps(arguments, job):
    """The score maps as a stage that is done."""
    from icd.methods import SEED_RULES
    from icd.stages.base import GivenMaps

    rule = SEED_RULES[arguments.rule]
    folders, rules = {arguments.rule: arguments.maps}, {arguments.rule: rule}
    if rule.companion:
        folders = {rule.companion: arguments.cam, **folders}
    return GivenMaps("maps", job, arguments.maps, folders, rules)


def _facts(arguments, stage) -> dict:
    """What the seeds differ in from the score maps' run, for `run.json`."""
    rule, variants = stage.source.rules[arguments.rule], stage.variants
    facts = {
        "threshold_policy": rule.policy_at(arguments.threshold),
        "crf": stage.crf_preset if "crf" in variants else None,
    }
    source = run_of(arguments.maps)
    if source:
        training = supervision_of(source, "nocrf") or []
        saliency = ["saliency"] if "sal" in variants else []
        facts["extra_supervision"] = sorted({*training, *saliency})
        facts["training_supervision"] = training
    return facts
