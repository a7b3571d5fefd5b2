"""Make seeds from folders of score maps: ours (.npz), or those of the originals (.npy), which are told apart by content.

The rule `icd` reads two kinds of maps (top-down logits and CAM), every other rule one.
"""

from __future__ import annotations

from pathlib import Path

from icd.cli.flags import at_least
from icd.errors import InputError
from icd.files import read_classes, read_list
from icd.provenance import run_of, supervision_of, write_derived_run

NEEDED = {"crf": "image_root", "sal": "saliency_root"}


def add_arguments(parser) -> None:
    """Declare the flags."""
    from icd.refine.crf import CRF_PRESETS
    from icd.refine.seed_stage import POLICIES, VARIANTS
    from icd.refine.seeds import CAM_THRESHOLD

    add = parser.add_argument
    add("--rule", choices=tuple(POLICIES), required=True, help="how a seed is made from score maps")
    add("--map-root", type=Path, required=True, help="folder of score maps")
    add("--cam-root", type=Path, help="folder of the CAM beside ICD's own maps, for the rule icd")
    add("--data-list", type=Path, required=True, help="text file, one id a line")
    add("--target", type=Path, required=True, help="masks go to TARGET/<variant>/<id>.png")
    add("--variants", default="nocrf,crf", help=f"some of {','.join(VARIANTS)} [nocrf,crf]")
    add("--image-root", type=Path, help="folder of <id>.jpg, for the variant crf and for ICD's own .npy")
    add(
        "--annotation-root",
        help="folder of <id>.xml or file of tags: ICD's own .npy do not say their classes",
    )
    add("--saliency-root", type=Path, help="folder of <id>.png, for the variant sal")
    add("--classes", type=Path, help="voc, coco, or a text file of class names [those of the maps' run, "
        "else voc]")  # fmt: skip
    add("--cam-threshold", type=float, default=CAM_THRESHOLD, help=f"share of the maximum [{CAM_THRESHOLD}]")
    add("--crf-preset", choices=sorted(CRF_PRESETS), default="icd", help="parameters of the CRF [icd]")
    add("--crf-backend", choices=("native", "pydensecrf"), default="native", help="[native]")
    add("--workers", type=at_least(0), default=2, help="processes [2]")


def run(arguments) -> int:
    """Make the seeds."""
    from icd.data.tags import open_tags
    from icd.refine.seed_stage import VARIANTS, SeedJob, make_seeds

    variants = tuple(arguments.variants.split(","))
    unknown = [variant for variant in variants if variant not in VARIANTS]
    if unknown:
        raise InputError("--variants", "some of " + ", ".join(VARIANTS), ", ".join(unknown))
    for variant, flag in NEEDED.items():
        if variant in variants and getattr(arguments, flag) is None:
            raise InputError("--" + flag.replace("_", "-"), f"a folder, for the variant {variant}", "none")
    if arguments.rule == "icd" and arguments.cam_root is None:
        raise InputError("--cam-root", "a folder, for the rule icd", "none")
    classes = read_classes(arguments.classes)
    if arguments.classes is None:
        classes = tuple(run_of(arguments.map_root).get("classes") or classes)
    job = SeedJob(
        rule=arguments.rule,
        map_root=arguments.map_root,
        cam_root=arguments.cam_root,
        image_root=arguments.image_root,
        tags=arguments.annotation_root and open_tags(arguments.annotation_root, classes),
        saliency_root=arguments.saliency_root,
        target_root=arguments.target,
        variants=variants,
        classes=classes,
        cam_threshold=arguments.cam_threshold,
        crf_preset=arguments.crf_preset,
        crf_backend=arguments.crf_backend,
    )
    make_seeds(job, read_list(arguments.data_list), arguments.workers)
    write_derived_run(arguments.target, arguments.map_root, **_facts(job))
    return 0


def _facts(job) -> dict:
    """What the seeds differ in from the score maps' run, for `run.json`."""
    from icd.refine.seed_stage import POLICIES

    threshold = f"fixed {job.cam_threshold:g} of the maximum" if job.rule == "cam" else POLICIES[job.rule]
    facts = {"threshold_policy": threshold, "crf": job.crf_preset if "crf" in job.variants else None}
    source = run_of(job.map_root)
    if source:
        training = supervision_of(source, "nocrf") or []
        saliency = ["saliency"] if "sal" in job.variants else []
        facts["extra_supervision"] = sorted({*training, *saliency})
        facts["training_supervision"] = training
    return facts
