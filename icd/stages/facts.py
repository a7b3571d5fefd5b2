"""What a finished chain leaves beside its files: `run.json`, pictures of the classes, the report.

In: the stages of a chain. Out: the facts that tables and reports quote. Written when all results are there: a call that is refused
must not change what they say.
"""

from __future__ import annotations

from pathlib import Path

from icd.files import write_atomic, write_json
from icd.provenance import read_run, write_run
from icd.stages.base import ids_without_file
from icd.stages.chain import trainings
from icd.stages.epochs import best_epoch
from icd.stages.localize import Localize
from icd.stages.seeds import Seeds
from icd.stages.times import seconds_by_stage

LIST, CLASSES = "list.txt", "classes.txt"


def write_own(job) -> None:
    """Write the list and the classes that followed from the user's tags, for whoever works on with the results."""
    if job.data.list is None:
        for name, lines in ((LIST, job.data.listing.ids), (CLASSES, job.data.classes)):
            write_atomic(job.out / name, ("\n".join(lines) + "\n").encode())


def finish(chain: str, stages: list, selected: list) -> Path:
    """Write the facts, the pictures and the report; returns the report's path."""
    from icd.evaluate.report import write_report
    from icd.pictures import write_class_pictures

    job = stages[0].job
    localized = last_of(Localize, stages)
    if localized is not None:
        folders = list(localized.products().values())
        target = localized.folder / "scores_demo"
        gone = set(
            ids_without_file(job.data.infer_ids, folders, ".npz")
        )  # masks may outlive their score maps
        ids = [image_id for image_id in job.data.infer_ids if image_id not in gone]
        write_class_pictures(target, ids, job.data.images, folders)
    if trainings(selected):
        write_facts(chain, stages)
    else:
        add_seed_facts(stages)
    return write_report(job.out)


def last_of(kind: type, stages: list):
    """The last stage of a kind; None where there is none."""
    return next((stage for stage in reversed(stages) if isinstance(stage, kind)), None)


def write_facts(chain: str, stages: list) -> None:
    """Write `run.json`."""
    job, localized, seeds = stages[0].job, last_of(Localize, stages), last_of(Seeds, stages)
    data, trained = job.data, trainings(stages)
    main = localized.source if localized is not None else trained[-1]
    scored = data.truth_list or data.infer_list
    others = {stage.name: stage.recipe for stage in trained if stage is not main}
    write_run(
        job.out,
        chain=chain,
        recipe=main.recipe,
        other_recipes=others or None,
        device=job.devices[1],
        data=data.name,
        data_list=data.list or job.out / LIST,
        images=len(data.ids),
        initial_weights=main.pretrained,
        extra_supervision=(seeds or main).supervision(),
        training_supervision=main.supervision(),
        threshold_policy=seeds and seeds.policy(),
        seed=job.seed,
        epoch=chosen_epoch(main),
        method=main.trainable,
        backbone=main.backbone,
        classes=list(data.classes),
        max_side=data.max_side,
        infer_size=(localized and localized.infer_size) or data.infer_size,
        weights=main.weights.name,
        superpixels=getattr(main.superpixel, "folder", None),
        crf=seeds.crf_preset if seeds and "crf" in seeds.variants else None,
        image_root=data.images.absolute(),  # these four are where the report finds its pictures and truths
        eval_root=data.truth and data.truth.absolute(),
        eval_list=scored and scored.absolute(),
        eval_classes=stages[-1].eval_classes if hasattr(stages[-1], "eval_classes") else None,
        **seconds_by_stage(job.out),
    )


def add_seed_facts(stages: list) -> None:
    """Enter into `run.json` what masks that were made later use beside what the training did."""
    seeds, out = last_of(Seeds, stages), stages[0].job.out
    facts = read_run(out)
    if facts and seeds is not None:
        more = ["saliency"] if "sal" in seeds.variants else []
        facts["extra_supervision"] = list(dict.fromkeys((*facts.get("extra_supervision", ()), *more)))
        facts["threshold_policy"] = seeds.policy()
        facts["crf"] = seeds.crf_preset if "crf" in seeds.variants else facts.get("crf")
        facts.update(seconds_by_stage(out))
        write_json(out / "run.json", facts)


def chosen_epoch(train) -> str:
    """Which epoch's weights are the result, in words."""
    last = train.length.epochs - 1
    if train.choose_epoch == "last":
        return f"last ({last})"
    return f"best on the truth ({best_epoch(train.folder, last)})"
