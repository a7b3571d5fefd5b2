"""The stages in their order: superpixels, training, localization, seeds, scores, report.

In: a `Run`, the answer to "what, from where, how". Out: the run folder. Between two stages lies a folder with a file an
image; a stage skips what is done, so that a run can be stopped and resumed anywhere.

    <snapshot>/checkpoints/epoch-0019/     the training's state
    <snapshot>/<model>-0019.params         the final weights, by the original's name; <model>-best.params those of the
                                           best epoch, and epochs.json how good each was, where the truth may choose
    <snapshot>/losses.jsonl, tensorboard/  the training's log
    <snapshot>/results/scores_<map>/       score maps; scores_demo/ pictures of them
    <snapshot>/results/seeds/<variant>/    the method's seeds; seeds_cam/ those of its CAM
    <snapshot>/scores.json, run.json, report.html
    <snapshot>/teacher/                    the same of the method whose score maps this one learns from, if any
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from icd.backbones import create_backbone, find_backbone
from icd.data.batches import InferenceBatches, TrainBatches, steps_in_epoch
from icd.data.check import RunFolders, check_run
from icd.data.dataset import ImageDataset
from icd.engine import checkpoint
from icd.engine.build import build_method
from icd.engine.fit import FitOptions, fit
from icd.engine.localize import localize, localized_ids
from icd.engine.merge import merged_superpixels
from icd.engine.parameters import load_checkpoint_weights, save_weights
from icd.engine.pictures import STRIP_IMAGES, PictureStrip
from icd.engine.schedules import training_length
from icd.errors import InputError
from icd.evaluate import score_masks
from icd.files import read_json, read_list, write_json
from icd.methods import METHODS, create_method
from icd.pictures import write_class_pictures
from icd.provenance import claim_folder, file_sha256, read_run, write_run
from icd.recipe import BaseRecipe
from icd.refine.seed_stage import POLICIES, SeedJob, make_seeds
from icd.refine.superpixel_stage import missing_ids, raw_superpixels


@dataclass(frozen=True)
class Run:
    """Everything that a run depends on. Paths are `pathlib.Path`; see `icd run --help` for their meaning."""

    method: str
    backbone: str
    classes: tuple
    recipe: BaseRecipe
    image_root: Path
    annotation_root: Path
    data_list: Path
    snapshot: Path
    model: str
    contexts: list
    device: str
    teacher: Run = None
    pretrained: Path = None
    superpixel_root: Path = None
    saliency_root: Path = None
    use_saliency: bool = False
    eval_root: Path = None
    eval_list: Path = None
    eval_classes: tuple = None
    infer_list: Path = None
    infer_size: int = 513
    infer_batch: int = 4
    map_type: str = None
    choose_epoch: str = "last"
    workers: int = 0
    seed: int = 0
    num_save: int = 5
    log_frequency: int = 5
    num_sample: int = 0
    resume: bool = False
    begin_epoch: int = 0
    shard: tuple = (1, 1)
    crf_preset: str = "icd"
    crf_backend: str = "native"
    crf: bool = True

    @property
    def ids(self) -> list:
        """The images of the run: the first `num_sample` of the list, or all."""
        ids = read_list(self.data_list)
        return ids[: self.num_sample] if self.num_sample else ids

    @property
    def infer_ids(self) -> list:
        """The images to localize and to make seeds of."""
        return read_list(self.infer_list) if self.infer_list else self.ids

    @property
    def scored_ids(self) -> list:
        """The images to score: of those that get seeds, the ones on the list of truths, if there is a list."""
        if self.eval_root is None:
            return []
        there = set(self.infer_ids)
        ids = (
            [image_id for image_id in read_list(self.eval_list) if image_id in there]
            if self.eval_list
            else self.infer_ids
        )
        if not ids:
            raise InputError(
                self.eval_list, "ids of images that get seeds", "none", "See --infer-list and --data-list."
            )
        return ids

    @property
    def shard_ids(self) -> list:
        """Those of them that are this process's share."""
        index, count = self.shard
        return self.infer_ids[index - 1 :: count]

    @property
    def presentation(self):
        """How images are shown for localization."""
        return METHODS[self.method].presentation(self.recipe, self.infer_size)

    @property
    def planes(self) -> dict:
        """The folders of the planes that training needs."""
        roots = {
            "superpixel": self.superpixel_root,
            "saliency": self.saliency_root,
            "target": self.teacher and self.teacher.map_folder(self.teacher.own_map),
        }
        return {name: roots[name] for name in METHODS[self.method].needs}

    @property
    def training_supervision(self) -> tuple:
        """What the training uses beyond tags."""
        taught = self.teacher.training_supervision if self.teacher else ()
        own = ("saliency",) if "saliency" in self.planes else ()
        chosen = ("masks for choosing the epoch",) if self.choose_epoch == "best" else ()
        return tuple(dict.fromkeys((*taught, *own, *chosen)))

    @property
    def extra_supervision(self) -> tuple:
        """What training and seeds use beyond tags."""
        seeds = ("saliency",) if self.use_saliency else ()
        return tuple(dict.fromkeys((*seeds, *self.training_supervision)))

    @property
    def length(self):
        """Epochs and steps of the training."""
        recipe = self.recipe
        batches = steps_in_epoch(len(self.ids), recipe)
        return training_length(recipe, max(1, batches))

    @property
    def weights(self) -> Path:
        """Where the weights go that localize: those of the last or of the best epoch."""
        epoch = self.length.epochs - 1 if self.choose_epoch == "last" else best_epoch(self)
        return self.weights_after(epoch)

    def weights_after(self, epoch: int) -> Path:
        """Where the weights of an epoch go."""
        return self.snapshot / f"{self.model}-{epoch:04d}.params"

    @property
    def variants(self) -> tuple:
        """The seed variants to make."""
        return ("nocrf", *(("crf",) if self.crf else ()), *(("sal",) if self.use_saliency else ()))

    @property
    def own_map(self) -> str:
        """The kind of score maps that is the method's own result."""
        return list(METHODS[self.method].score_maps)[-1]

    def seed_folder(self, kind: str) -> Path:
        """Where the seeds of a kind of score maps go."""
        return self.snapshot / "results" / ("seeds" if kind == self.own_map else f"seeds_{kind}")

    def map_folder(self, kind: str) -> Path:
        """Where the score maps of a kind go."""
        return self.snapshot / "results" / f"scores_{kind}"


def check_network(run: Run) -> None:
    """Put the network together, whose backbone may not suit the method: `InputError`."""
    create_method(run.method, create_backbone(run.backbone), len(run.classes), run.recipe)


def make_superpixels(run: Run) -> None:
    """Compute the superpixels that training needs and that are not there: raw, then merged where weights allow it."""
    if "superpixel" not in run.planes or not missing_ids(run.ids, run.superpixel_root):
        return
    if run.pretrained is None:
        raw_superpixels(run.ids, run.image_root, run.superpixel_root)
        return
    raw_root = run.superpixel_root.with_name(run.superpixel_root.name + "_raw")
    raw_superpixels(run.ids, run.image_root, raw_root)
    method = build_method("cam", run.backbone, 1, run.contexts[:1], pretrained=run.pretrained)
    backbone = method.network.backbone
    merged_superpixels(run.ids, run.image_root, raw_root, run.superpixel_root, backbone, run.contexts[0])


def check_inputs(run: Run) -> None:
    """Read everything that the run will read once, before hours are spent.

    Raises
    ------
    InputError
        The first problem, and how many more there are.
    """
    folders = RunFolders(
        run.image_root,
        run.annotation_root,
        run.planes.get("superpixel"),
        run.saliency_root if "saliency" in run.extra_supervision else None,
        run.eval_root,
        run.classes,
    )
    used = list(dict.fromkeys((*run.ids, *run.infer_ids)))
    needed = {
        "superpixel_root": run.ids,
        "saliency_root": (
            *(run.ids if "saliency" in run.training_supervision else ()),
            *(run.infer_ids if run.use_saliency else ()),
        ),
        "truth_root": run.scored_ids,
    }
    checked = tqdm(check_run(folders, used, run.workers, needed), total=len(used), unit="image", desc="check")
    problems = [problem for of_image in checked for problem in of_image]
    if problems:
        first, more = problems[0], len(problems) - 1
        remedy = first.remedy + (f" {more} more problems: `icd data check` names them." if more else "")
        raise InputError(first.where, first.expected, first.found, remedy.strip())


def train(run: Run) -> None:
    """Train, or go on training, to the end of the recipe."""
    folder = run.snapshot / "checkpoints"
    if checkpoint.checkpoints(folder) and not (run.resume or run.begin_epoch):
        remedy = "Give --resume to go on with it, or another --snapshot."
        raise InputError(folder, "no earlier training", "one", remedy)
    forget_epochs(run)
    recipe = run.recipe
    dataset = ImageDataset(run.image_root, run.annotation_root, run.ids, run.classes, run.planes)
    augmentation = METHODS[run.method].augmentation(recipe)
    batches = TrainBatches(
        dataset, recipe.batch_size, augmentation, run.seed, run.workers, recipe.keep_last_batch
    )
    method = _build(run, pretrained=run.pretrained)
    options = FitOptions(
        run.snapshot, run.seed, run.num_save, run.log_frequency, run.resume, run.begin_epoch, _facts(run)
    )
    shown = ImageDataset(run.image_root, run.annotation_root, run.ids[:STRIP_IMAGES], run.classes)
    strip = PictureStrip(run.snapshot / f"{run.model}_visdemo", run.model, shown, run.presentation)

    def after_epoch(epoch):
        strip.write(method, run.contexts[0], epoch)
        if run.choose_epoch == "best":
            keep_best(run, method, epoch)

    last = fit(method, batches, run.contexts, options, after_epoch)
    if run.choose_epoch == "last":
        save_weights(method, run.weights)
    print(f"Trained; last checkpoint {last}")


def localize_images(run: Run) -> None:
    """Write the score maps of this process's share of the images."""
    folders = {kind: run.map_folder(kind) for kind in METHODS[run.method].score_maps}
    if run.weights.is_file():
        facts = _map_facts(run)
        for folder in folders.values():
            claim_folder(folder, facts)
    done = localized_ids(folders, run.shard_ids)
    if len(done) == len(run.shard_ids):
        return
    if not run.weights.is_file():
        wanted = f"the weights of the {run.choose_epoch} epoch"
        raise InputError(run.weights, wanted, "nothing there", "Train first, without --shard.")
    method = _build(run)
    load_checkpoint_weights(method, run.weights)
    localize_with(run, method, folders, done)


def _map_facts(run: Run) -> dict:
    """What score maps are made with."""
    return {
        "weights": file_sha256(run.weights),
        "presentation": repr(run.presentation),
        "map_type": run.map_type or METHODS[run.method].map_type,
    }


def localize_with(run: Run, method, folders: dict, done=frozenset()) -> None:
    """Write the score maps of this process's share of the images with a method as it is."""
    dataset = ImageDataset(run.image_root, run.annotation_root, run.shard_ids, run.classes)
    batches = InferenceBatches(dataset, run.infer_batch, run.presentation, done, run.workers)
    localize(method, batches, run.contexts, folders, run.map_type or method.map_type)


def keep_best(run: Run, method, epoch: int) -> None:
    """Score the seeds that a method would make after an epoch, and keep its weights if no epoch before was better.

    This uses the truth of the images that are scored. DRS's authors do so (spec drs 4.4), at 320 x 320 and one scale; here
    the images are scored as always.
    """
    path = run.snapshot / "epochs.json"
    entries = read_json(path) if path.is_file() else []
    if any(entry["epoch"] == epoch for entry in entries):
        return
    if len(entries) < epoch:
        remedy = "Epochs were trained without --choose-epoch best. Leave it out, or give another --snapshot."
        raise InputError(path, f"the scores of the {epoch} epochs before", f"{len(entries)}", remedy)
    scored = run.eval_list or run.infer_list
    trial = replace(run, snapshot=run.snapshot / "trial", infer_list=scored, crf=False, shard=(1, 1))
    shutil.rmtree(trial.snapshot, ignore_errors=True)
    localize_with(trial, method, {kind: trial.map_folder(kind) for kind in method.score_maps})
    generate_seeds(trial)
    miou = next(e["miou"] for e in reversed(score_seeds(trial)) if e["kind"] == trial.own_map)
    shutil.rmtree(trial.snapshot)
    if all(miou > entry["miou"] for entry in entries):
        save_weights(method, run.weights_after(epoch))
    write_json(path, [*entries, {"epoch": epoch, "miou": miou}])


def forget_epochs(run: Run) -> None:
    """Drop the scores of epochs that will be trained anew."""
    path = run.snapshot / "epochs.json"
    if path.is_file() and not (run.resume and not run.begin_epoch):
        write_json(path, [entry for entry in read_json(path) if entry["epoch"] < run.begin_epoch])


def best_epoch(run: Run) -> int:
    """The epoch that `keep_best` found best, the first of several."""
    entries = read_json(run.snapshot / "epochs.json")
    return max(entries, key=lambda entry: (entry["miou"], -entry["epoch"]))["epoch"]


def chosen_epoch(run: Run) -> str:
    """Which epoch's weights localize, in words."""
    if run.choose_epoch == "last":
        return f"last ({run.length.epochs - 1})"
    return f"best on the truth ({best_epoch(run)})"


def picture_classes(run: Run) -> None:
    """Write the pictures of every class, as the original does."""
    folders = [run.map_folder(kind) for kind in METHODS[run.method].score_maps]
    write_class_pictures(run.snapshot / "results" / "scores_demo", run.infer_ids, run.image_root, folders)


def generate_seeds(run: Run) -> None:
    """Make the seeds of this process's share of the images, for every kind of score maps."""
    for kind, rule in METHODS[run.method].score_maps.items():
        job = SeedJob(
            rule=rule,
            map_root=run.map_folder(kind),
            cam_root=run.map_folder("cam"),
            image_root=run.image_root,
            saliency_root=run.saliency_root,
            target_root=run.seed_folder(kind),
            variants=run.variants,
            classes=run.classes,
            crf_preset=run.crf_preset,
            crf_backend=run.crf_backend,
        )
        make_seeds(job, run.shard_ids, run.workers, f"seeds {kind}")


def score_seeds(run: Run) -> list:
    """Score every seed variant against the truth and write `scores.json`.

    Returns
    -------
    list of dict
        `kind`, `variant` and the evaluator's numbers.
    """
    ids, entries = run.scored_ids, []
    for kind in METHODS[run.method].score_maps:
        for variant in run.variants:
            scores = score_masks(
                run.seed_folder(kind) / variant,
                run.eval_root,
                ids,
                run.classes,
                evaluated_classes=run.eval_classes,
                workers=max(run.workers, 1),
            )
            entries.append(
                {
                    "kind": kind,
                    "variant": variant,
                    "name": f"{kind} {variant}",
                    **scores.as_dict(per_image=True),
                }
            )
    write_json(run.snapshot / "scores.json", entries)
    return entries


def write_run_facts(run: Run) -> None:
    """Write `run.json`. Not before all results are there: a call that is refused must not change what it says of them."""
    scored = run.eval_list or run.infer_list
    write_run(
        run.snapshot,
        recipe=run.recipe,
        teacher_recipe=run.teacher and run.teacher.recipe,
        device=run.device,
        data_list=run.data_list,
        images=len(run.ids),
        initial_weights=run.pretrained,
        extra_supervision=run.extra_supervision,
        training_supervision=run.training_supervision,
        threshold_policy="; ".join(
            f"{kind}: {POLICIES[rule]}" for kind, rule in METHODS[run.method].score_maps.items()
        ),
        seed=run.seed,
        epoch=chosen_epoch(run),
        method=run.method,
        backbone=run.backbone,
        classes=list(run.classes),
        infer_size=run.infer_size,
        weights=run.weights.name,
        superpixels=run.planes.get("superpixel"),
        crf=run.crf_preset if run.crf else None,
        image_root=run.image_root.absolute(),  # these four are where the report finds its pictures and truths
        eval_root=run.eval_root and run.eval_root.absolute(),
        eval_list=scored and scored.absolute(),
        eval_classes=run.eval_classes,
    )


def add_seed_facts(run: Run) -> None:
    """Enter into `run.json` what seeds that were made later, by `--only-gen-seeds`, use beside what the training did."""
    facts = read_run(run.snapshot)
    if facts:
        seeds = ["saliency"] if run.use_saliency else []
        facts["extra_supervision"] = list(dict.fromkeys((*facts.get("extra_supervision", ()), *seeds)))
        facts["crf"] = run.crf_preset if run.crf else facts.get("crf")
        write_json(run.snapshot / "run.json", facts)


def _build(run: Run, pretrained=None):
    return build_method(
        run.method,
        run.backbone,
        len(run.classes),
        run.contexts,
        seed=run.seed,
        pretrained=pretrained,
        recipe=run.recipe,
    )


def _facts(run: Run) -> dict:
    """What must be the same when training goes on."""
    recipe = {
        key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(run.recipe).items()
    }
    return {
        "method": run.method,
        "backbone": run.backbone,
        "classes": list(run.classes),
        "recipe": recipe,
        "images": len(run.ids),
        "data_list": file_sha256(run.data_list),
        "pretrained": file_sha256(run.pretrained) if run.pretrained else None,
    }


def needs_pretrained(backbone: str) -> bool:
    """Whether a backbone starts from pretrained weights."""
    return find_backbone(backbone).pretrained
