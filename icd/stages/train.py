"""The stage that trains: a method, a refiner or a segmenter, from where it stands to the end of its recipe.

======================================  ================================================================================
`<folder>/checkpoints/epoch-0019/`      the training's state
`<folder>/<model>-0019.params`          the final weights, by the original's name; with `--choose-epoch best` those of the
                                        best epoch, and epochs.json says how good each was
`<folder>/losses.jsonl, tensorboard/`   the training's log
======================================  ================================================================================
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from icd.data.batches import refuse_small_batch, steps_in_epoch
from icd.data.planes import PLANES
from icd.engine.schedules import depends_on_length, training_length
from icd.errors import InputError
from icd.provenance import file_sha256
from icd.recipe import BaseRecipe
from icd.stages import record
from icd.stages.base import Stage, setting
from icd.weights.registry import explain, supervision_of_weights

FEW_STEPS = 200
"""Fewer optimizer steps than this are remarked on; the runs of docs/results.md that train from tags took 384 and more."""


def images_of_training(job, sources: dict) -> list:
    """The images that a stage makes score maps or masks of, if a training learns from these; else the list's.

    `sources` are what it reads, by role; other keys do not matter.
    """
    teacher = next((sources[role] for role in ("target", "mask", "low") if sources.get(role)), None)
    return teacher.ids() if teacher else job.data.ids


@dataclass(frozen=True)
class Train(Stage):
    """See the module's docstring; the planes that the trainable needs are stages or folders."""

    kind: ClassVar[str] = "train"
    trainable: str = setting("what is trained", None)
    recipe: BaseRecipe = setting("its hyper-parameters", None)
    backbone: str = setting("the network's trunk", None)
    model: str = setting("beginning of the names of weight files", None)
    pretrained: Path = setting("backbone weights to start from", None)
    superpixel: Stage = None
    target: Stage = None
    mask: Stage = None
    low: Stage = None
    high: Stage = None
    start: Stage = (
        None  # a training whose backbone this one starts from, where there are no pretrained weights
    )
    num_save: int = setting("newest checkpoints kept", 5)
    log_frequency: int = setting("steps between two lines of the log", 5)
    begin_epoch: int = setting("go on from the checkpoint of the epoch before this one", 0)
    choose_epoch: str = setting("whose weights are the result", "last", choices=("last", "best"))
    extend: bool = setting("go on with a longer training although its rates depend on the length", False)
    weights_given: Path = setting("a finished training's weights in the place of this one", None)

    def sources(self):
        """As of all stages; with pretrained weights it starts from no other training."""
        found = super().sources()
        if self.pretrained is not None:
            found.pop("start", None)
        return found

    @property
    def trained_class(self):
        """The class that is trained."""
        from icd.engine.build import find_trainable

        return find_trainable(self.trainable)

    def ids(self):
        """The images to train on."""
        return images_of_training(self.job, self.sources())

    def share(self):
        """All of them: a training is not split by image."""
        return self.ids()

    def planes(self) -> dict:
        """The folders of the planes that the trainable needs."""
        folders = {}
        for name in self.trained_class.needs:
            source = getattr(self, name, None)
            folders[name] = (
                source.products()[source.label_for(name)] if source else getattr(self.job.data, name)
            )
            if folders[name] is None:
                remedy = "Give the folder with --saliency." if name == "saliency" else ""
                raise InputError(f"stage {self.name}", f"{name} for {self.trainable}", "none", remedy)
        return folders

    def needs(self):
        """Saliency of every image, if the trainable learns from it."""
        return {"saliency": self.ids()} if "saliency" in self.trained_class.needs else {}

    def supervision(self, label=""):
        """What the planes, the initial weights, and choosing the epoch, use beyond tags."""
        own = [PLANES[name].supervision for name in self.trained_class.needs if PLANES[name].supervision]
        chosen = ["masks for choosing the epoch"] if self.choose_epoch == "best" else []
        weights = [] if self.pretrained is None else supervision_of_weights(self.pretrained)
        return tuple(dict.fromkeys((*super().supervision(), *own, *weights, *chosen)))

    @property
    def length(self):
        """Epochs and steps of the training."""
        return training_length(self.recipe, max(1, steps_in_epoch(len(self.ids()), self.recipe)))

    @property
    def weights(self) -> Path:
        """Where the weights are that the next stages use: those given, of the last or of the best epoch."""
        if self.weights_given is not None:
            return self.weights_given
        epoch = self.length.epochs - 1
        if self.choose_epoch == "best":
            from icd.stages.epochs import best_epoch

            epoch = best_epoch(self.folder, epoch)
        return self.weights_after(epoch)

    def weights_after(self, epoch: int) -> Path:
        """Where the weights of an epoch go."""
        return self.folder / f"{self.model}-{epoch:04d}.params"

    def facts(self, label=""):
        """What must be the same when training goes on."""
        sources = {role: source.record(source.label_for(role)) for role, source in self.sources().items()}
        planes = {name: str(folder) for name, folder in self.planes().items() if name not in sources}
        return {
            "trainable": self.trainable,
            "backbone": self.backbone,
            "classes": list(self.job.data.classes),
            "recipe": dataclasses.asdict(self.recipe),
            "ids": record.digest(self.ids()),
            "seed": self.job.seed,
            "pretrained": file_sha256(self.pretrained) if self.pretrained else None,
            **({"planes": planes} if planes else {}),
            **sources,
        }

    def record(self, label=""):
        """The weights say it all."""
        return {"weights": file_sha256(self.weights)}

    def free_keys(self):
        """A longer training goes on, where its rates allow it."""
        free = ("recipe.num_epoch", "recipe.num_iterations")
        return () if depends_on_length(self.recipe) and not self.extend else free

    def known(self):
        """Once it is trained, and will not be trained on."""
        return not self.left()

    def refuse_conflict(self):
        """As all stages; a refusal for the length alone says why, and what to do."""
        if self.weights_given is not None:
            return
        try:
            super().refuse_conflict()
        except InputError as error:
            if "recipe.num_" not in error.expected:
                raise
            remedy = (
                "The rate falls as a polynomial of the length, so a longer training would have had other rates from the "
                f"start. --set {self.name}.extend=true goes on all the same, with the rates of the new length; "
                f"--redo {self.name} trains anew."
            )
            raise InputError(error.where, error.expected, error.found, remedy) from None
        self._refuse_second_start()
        if self.choose_epoch == "best":
            from icd.stages.epochs import refuse_missing_epochs

            refuse_missing_epochs(self)

    def _refuse_second_start(self):
        from icd.engine.checkpoint import checkpoints

        folder = self.folder / "checkpoints"
        if checkpoints(folder) and not (self.job.resume or self.begin_epoch):
            remedy = "Give --resume to go on with it, or another --out."
            raise InputError(folder, "no earlier training", "one", remedy)

    def has_files(self, folder):
        """Whether a training has begun there."""
        return self.weights.is_file() or any((folder / "checkpoints").glob("epoch-*"))

    def refuse_unrecorded(self, folder):
        """Never: weights without a record are known by their digest, and checkpoints hold their own facts."""

    def check(self):
        """Build the network, whose backbone may not suit it, and see that its weights are there."""
        from icd.engine.build import backbone_for, make_trainable

        if self.weights_given is not None and not self.weights_given.is_file():
            raise InputError(self.weights_given, "weights for stage " + self.name, "nothing there")
        if not self.left():
            return
        self._check_pretrained()
        steps_per_epoch = steps_in_epoch(len(self.ids()), self.recipe)
        if not steps_per_epoch:
            found = f"a step of {self.recipe.batch_size * self.recipe.accumulation} for a list of {len(self.ids())}"
            remedy = f"Give --batch-size {max(1, len(self.ids()) // self.recipe.accumulation)} or less, or a longer list."
            raise InputError("--batch-size", "at most as many images as the list has", found, remedy)
        refuse_small_batch(self.recipe, self.job.world.size)
        if self.length.steps < FEW_STEPS:
            print(self._few_steps(steps_per_epoch))
        backbone = backbone_for(self.trainable, self.backbone, self.recipe)
        make_trainable(self.trainable, backbone, len(self.job.data.classes), self.recipe)
        self._check_target()

    def _few_steps(self, steps_per_epoch) -> str:
        """That the training is too short to learn much, and how long it should be."""
        batch = self.recipe.batch_size * self.recipe.accumulation
        made_of = f"{len(self.ids())} images, {batch} a step, {self.length.epochs} epochs"
        epochs = -(-2 * FEW_STEPS // steps_per_epoch)
        remedy = f"--num-epoch {epochs} makes about {epochs * steps_per_epoch}."
        return f"WARNING {self.name}: only {self.length.steps} optimizer steps ({made_of}), which teach little. {remedy}"

    def _check_target(self):
        """Score maps that are learned from must be as large as the crop; see `icd.data.planes`."""
        taught = getattr(getattr(self.target, "source", None), "recipe", None)
        if taught is not None and taught.image_size != self.recipe.image_size:
            other = self.target.source.name
            expected = f"{taught.image_size}, the side of {other}'s score maps"
            remedy = f"Give --set {other}.image_size={self.recipe.image_size} too."
            raise InputError(f"{self.name}.image_size", expected, str(self.recipe.image_size), remedy)

    def _check_pretrained(self):
        from icd.backbones import find_backbone

        if self.pretrained is None:
            if self.backbone and find_backbone(self.backbone).pretrained:
                raise InputError(
                    f"weights of {self.backbone}", "a file to start from", "none", "Give --pretrained."
                )
        elif not self.pretrained.is_file():
            remedy = f"{explain(self.pretrained.name)} --pretrained names another place."
            raise InputError(
                self.pretrained, f"pretrained weights of {self.backbone}", "nothing there", remedy
            )

    def left(self):
        """All images, unless the final weights are there, and nobody asks to go on from an epoch before."""
        if self.weights_given is not None:
            return []
        if self.choose_epoch == "best":
            from icd.stages.epochs import scored_epochs

            done = len(scored_epochs(self.folder)) >= self.length.epochs
        else:
            done = self.weights.is_file()
        return [] if done and not self.begin_epoch else self.ids()

    def run(self):
        """Train what is left, of all images, unless the weights are given."""
        if self.weights_given is None and self.left():
            super().run()

    def distribute(self, left):
        """Train, all processes of the world together."""
        self.work(left)

    def work(self, ids):
        """Train to the end of the recipe."""
        from icd.engine.fit import FitOptions, fit
        from icd.engine.parameters import save_weights
        from icd.stages.epochs import EpochChoice

        trainable = self.build(self.pretrained or (self.start and self.start.weights))
        options = FitOptions(
            self.folder, self.job.seed, self.num_save, self.log_frequency, self.job.resume, self.begin_epoch,
            self.facts(), self.free_keys(),
        )  # fmt: skip
        world = self.job.world
        choice = EpochChoice(self) if self.choose_epoch == "best" and world.leads else None
        strip = self._picture_strip() if world.leads else None

        def after_epoch(epoch):
            if strip is not None:
                strip.write(trainable, self.job.devices[0][0], epoch)
            if choice is not None:
                choice.keep_best(trainable, epoch)

        fit(trainable, self._batches(), self.job.devices[0], options, after_epoch, world)
        self._conclude(trainable)
        if self.choose_epoch == "last":
            world.lead(save_weights, trainable, self.weights)
        steps, epochs = self.length.steps, self.length.epochs
        print(f"{self.name}: trained {steps} steps in {epochs} epochs; weights {self.weights}")

    def _batches(self):
        from icd.data.batches import TrainBatches

        dataset, world = self.job.dataset(self.ids(), self.planes()), self.job.world
        augmentation = self.trained_class.augmentation(self.recipe)
        return TrainBatches(
            dataset, self.recipe, augmentation, self.job.seed, self.job.workers, world.rank, world.size
        )

    def _conclude(self, trainable):
        """Show the training images once more to a trainable that sets up something from them at the end."""
        from icd.data.batches import InferenceBatches
        from icd.trainable import Trainable

        if type(trainable).conclude is Trainable.conclude:
            return
        world = self.job.world
        dataset = self.job.dataset(world.share(self.ids()))
        presentation = trainable.presentation(self.recipe, self.job.data.infer_size)
        batches = InferenceBatches(dataset, 1, presentation, workers=self.job.workers)
        trainable.conclude(batches, world)
        batches.close()

    def _picture_strip(self):
        """Writes pictures of the first images after every epoch; none of what does not localize."""
        from icd.engine.pictures import STRIP_IMAGES, PictureStrip

        kind = self.trained_class
        if not hasattr(kind, "score_maps"):
            return None
        shown = self.job.dataset(self.ids()[:STRIP_IMAGES])
        presentation = kind.presentation(self.recipe, self.job.data.infer_size)
        return PictureStrip(self.folder / f"{self.model}_visdemo", self.model, shown, presentation)

    def build(self, pretrained=None):
        """The trainable on its devices, with initial weights."""
        from icd.engine.build import build_trainable

        return build_trainable(
            self.trainable, self.backbone, len(self.job.data.classes), self.job.devices[0],
            seed=self.job.seed, pretrained=pretrained, recipe=self.recipe,
        )  # fmt: skip

    def load(self):
        """The trained trainable, for inference."""
        from icd.engine.build import fuse_for_inference
        from icd.engine.parameters import load_checkpoint_weights

        trainable = self.build()
        load_checkpoint_weights(trainable, self.weights)
        fuse_for_inference(trainable, self.job.devices[0])
        return trainable

    def remove_files(self):
        """Remove the training, and nothing that other stages keep beside it."""
        for name in ("checkpoints", "tensorboard", f"{self.model}_visdemo"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for path in (*self.folder.glob(f"{self.model}-[0-9]*.params"), self.folder / "losses.jsonl",
                     self.folder / "epochs.json", self.folder / record.FILE):  # fmt: skip
            path.unlink(missing_ok=True)
