"""What every stage answers: what do you read, what is left, check it, do it.

A stage is a frozen dataclass: the stages that it reads, its settings, and the `Job` that all stages of a chain share. Between
two stages lie folders with one file an image. So each can be run alone, resumed, split over machines, replaced by somebody
else's files, or looked at.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from tqdm import tqdm

from icd.data.workers import Workers
from icd.errors import InputError
from icd.stages import record, times
from icd.stages.job import Job


def setting(meaning: str, default=dataclasses.MISSING, choices=None):
    """A field of a stage that a chain or a user may set; `meaning` is for `--help`."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "choices": choices})


@dataclass(frozen=True)
class Stage:
    """The contract; a kind of stage says what it does in its own file.

    Attributes
    ----------
    name : str
        In the chain.
    job : Job
    folder : Path
        Where its files go; those of each of `products` have a folder of their own there.
    """

    kind: ClassVar[str]
    together: ClassVar[int] = 1  # images that are computed at once
    given: ClassVar[bool] = False  # whether its files are somebody else's, and `check` reads them
    tagged: ClassVar[bool] = True  # whether its images must have tags

    name: str
    job: Job
    folder: Path

    def sources(self) -> dict:
        """The stages that it reads, by role."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in fields.items() if isinstance(value, Stage)}

    def products(self) -> dict:
        """The folders that it fills, by label; every one of them gets a `stage.json`."""
        return {"": self.folder}

    def writes(self) -> list:
        """The folders or files that it makes, for people."""
        return list(self.products().values())

    def label_for(self, what: str) -> str:
        """The product that others read as `what`, such as "maps", "stack" or "mask": the last one."""
        return list(self.products())[-1]

    def ids(self) -> list:
        """All images that it works on."""
        return self.job.data.infer_ids

    def scored_ids(self) -> list:
        """Of the images that its masks are of, those that have a truth."""
        return self.job.data.scored_ids

    def facts(self, label: str = "") -> dict:
        """What the files of a product depend on: settings, and the facts of what it reads; JSON values."""
        raise NotImplementedError

    def check(self) -> None:
        """Read what it will read, as far as that is there, before the first hour is spent; `InputError` says what is wrong."""

    def needs(self) -> dict:
        """Ids that must have a file in the data set's own folders, by field of `DataSet`: {"saliency": ids}."""
        return {}

    def left(self) -> list:
        """The ids of this process's share whose files are not there yet."""
        raise NotImplementedError

    def work(self, ids: list) -> None:
        """Make the files of these ids."""
        raise NotImplementedError

    def supervision(self, label: str = "") -> tuple:
        """What a product uses beyond tags, itself or in what it reads; without a label, what any of them does."""
        read = ((source, source.label_for(role)) for role, source in self.sources().items())
        return tuple(dict.fromkeys(extra for source, its in read for extra in source.supervision(its)))

    def free_keys(self) -> tuple:
        """Facts that may change from one call to the next."""
        return ()

    # What follows is the same for all stages.

    def share(self) -> list:
        """The images of this process's share."""
        index, count = self.job.shard
        return self.ids()[index - 1 :: count]

    def record(self, label: str = "") -> dict:
        """The facts that the files of a product were made with, as noted beside them."""
        return record.read_record(self.products()[label]).get("facts", {})

    def fingerprints(self, noted: dict, label: str = "") -> dict:
        """Fingerprints of the images of this share whose files a record knows, or that are still to be made."""
        wanted = {*noted.get("images", {}), *self.left()}
        return {image_id: self.job.fingerprint(image_id) for image_id in self.share() if image_id in wanted}

    def noted(self, label: str = "") -> dict:
        """The facts that are noted beside a product: its own, and those that hold for all stages of the job."""
        return {**self.facts(label), **self.job.facts}

    def known(self) -> bool:
        """Whether it is noted what its files are made with, so that `record` says it."""
        return all(self.record(label) for label in self.products())

    def refuse_conflict(self) -> None:
        """Raise `InputError` where files are there that other inputs or settings made, or that would outlive their source."""
        unknown = [source.name for source in self.sources().values() if not source.known()]
        for label, folder in self.products().items():
            noted = record.read_record(folder)
            if not self.has_files(folder):
                continue
            if not noted:
                self.refuse_unrecorded(folder)
            elif not unknown:
                marks = self.fingerprints(noted, label)
                record.refuse_other(folder, self.name, noted, self.noted(label), marks, self.free_keys())
            else:
                remedy = f"Give another --out, or make them anew: --redo {self.name}."
                wanted = f"no files of stage {self.name} before {', '.join(unknown)} is done"
                raise InputError(folder, wanted, "files of an earlier run", remedy)

    def refuse_unrecorded(self, folder) -> None:
        """Raise `InputError`, because a folder holds files without a record."""
        remedy = f"Name another --out, or take them as they are: --take {self.name}={folder}"
        raise InputError(folder, "files with a stage.json, or none", "files of unknown origin", remedy)

    def has_files(self, folder) -> bool:
        """Whether a product's folder holds files of this stage; a record alone says nothing."""
        return has_files(folder)

    def run(self) -> None:
        """Do what is left, alone, beside other shards, or together with the other processes of the world."""
        world = self.job.world
        with self._claimed() if world.leads else contextlib.nullcontext():
            left = self.left()
            world.barrier()  # all have looked before anybody writes
            if left:
                with times.measured(self.job.out, self.name) if world.leads else contextlib.nullcontext():
                    self.distribute(left)
            world.barrier()

    def distribute(self, left: list) -> None:
        """Do this process's part of what is left, or let the cluster do it."""
        mine = self.job.world.share(left)
        if mine and self.job.cluster is not None:
            self.job.cluster.work(self, mine)
        elif mine:
            self.work(mine)
            vars(self).pop("network", None)  # its memory is wanted by the next stage

    @cached_property
    def network(self):
        """What `work` needs that is loaded once a process; None where a stage needs nothing."""
        return None

    def __getstate__(self):
        """What a worker of a cluster gets: it loads the network itself."""
        return {name: value for name, value in vars(self).items() if name != "network"}

    @contextlib.contextmanager
    def _claimed(self):
        """Hold the folders, and note in them what their files are made with."""
        with record.locked(self.folder, self.name, self.job.shard) as alone:
            for label, folder in self.products().items():
                if not self.has_files(folder):
                    record.forget(folder)
                marks = self.fingerprints(record.read_record(folder), label)
                record.claim(folder, self.name, self.kind, self.noted(label), marks, self.free_keys())
                if alone:
                    record.sweep(folder)
            yield

    def remove(self) -> None:
        """Remove its files, for `--redo`, and what is noted of the time that they took."""
        self.remove_files()
        times.forget(self.job.out, self.name)

    def remove_files(self) -> None:
        """Remove its files; nothing that has no record of ours."""
        for folder in self.products().values():
            if record.read_record(folder):
                shutil.rmtree(folder)


@dataclass(frozen=True)
class Files(Stage):
    """Somebody else's files in the place of a stage: `--take STAGE=FOLDER`.

    Attributes
    ----------
    place : Stage
        The stage that they stand for; `folder` is theirs.
    """

    kind: ClassVar[str] = "files"
    given: ClassVar[bool] = True
    place: Stage = None

    def products(self) -> dict:
        """Their folder; where the stage has several products, the folders below it that are called after them."""
        labels = list(self.place.products())
        if len(labels) == 1:
            return {labels[0]: self.folder}
        return {label: self.folder / self.place.products()[label].name for label in labels}

    def sources(self) -> dict:
        """None: they are there."""
        return {}

    def ids(self) -> list:
        """Those of the stage."""
        return self.place.ids()

    def facts(self, label: str = "") -> dict:
        """Where they lie, and what tells them from others there."""
        folder = self.products()[label]
        marks = [record.fingerprint([file_of(folder, image_id)]) for image_id in self.ids()]
        return {"foreign": str(folder.resolve()), "files": record.digest(marks)}

    record = facts

    def check(self) -> None:
        """A file for every image must be there."""
        for folder in self.products().values():
            missing = [image_id for image_id in self.ids() if file_of(folder, image_id) is None]
            if missing:
                some = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
                found = f"none for {len(missing)} of {len(self.ids())} ids ({some})"
                raise InputError(folder, f"a file <id>.npz, .npy or .png for stage {self.name}", found)

    def left(self) -> list:
        """Nothing."""
        return []

    def run(self) -> None:
        """Note in the run folder what stands in the stage's place."""
        for label in self.products() if self.job.world.leads else ():
            facts = self.facts(label)
            record.claim(self.place.products()[label], self.name, self.kind, facts, {}, ("foreign", "files"))

    def refuse_conflict(self) -> None:
        """Never."""

    def __getattr__(self, name):
        # What readers ask of the stage that these files stand for, such as the rules of its score maps.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.place, name)


@dataclass(frozen=True)
class GivenMaps(Stage):
    """Folders of score maps of any program, for a stage of masks that stands alone.

    Attributes
    ----------
    folders : dict of Path
        By kind, the main one last.
    rules : dict of icd.refine.seeds.SeedRule
        For each kind that gets masks.
    """

    kind: ClassVar[str] = "maps"
    folders: dict = None
    rules: dict = None

    def products(self) -> dict:
        """The folders."""
        return self.folders

    def record(self, label: str = "") -> dict:
        """What our own record says of them, else where they lie."""
        return super().record(label) or {"foreign": str(Path(self.folders[label]).resolve())}

    def left(self) -> list:
        """Nothing."""
        return []

    def marks(self, image_id) -> list:
        """What tells the files of an id from others."""
        return [record.fingerprint([file_of(folder, image_id)]) for folder in self.folders.values()]


FILES = (".npz", ".npy", ".png")


def file_of(folder, image_id):
    """The file of an id in a folder of somebody else's files; None where there is none."""
    paths = (Path(folder) / f"{image_id}{suffix}" for suffix in FILES)
    return next((path for path in paths if path.is_file()), None)


def has_files(folder) -> bool:
    """Whether a folder holds files of images."""
    folder = Path(folder)
    return folder.is_dir() and any(path.suffix in FILES for path in folder.iterdir())


def run_pool(function, ids: list, workers: int, label: str) -> list:
    """Call a picklable function with every id, on several processes, with a progress bar; returns the results."""
    pool = Workers(function, workers if len(ids) > workers else 0)
    try:
        results = pool.map(ids)
        return [*tqdm(results, total=len(ids), unit="image", desc=label, dynamic_ncols=True, disable=None)]
    finally:
        pool.close()


def ids_without_file(ids: list, folders, suffix: str) -> list:
    """The ids that lack a file `<id><suffix>` in some of the folders."""
    there = [{path.name[: -len(suffix)] for path in Path(f).glob("*" + suffix)} for f in folders]
    return [image_id for image_id in ids if not all(image_id in names for names in there)]
