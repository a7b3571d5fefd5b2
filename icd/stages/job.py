"""What all stages of a chain share: data set, run folder, devices, and who does the work. In: what the user chose."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from icd.bounded import MAX_SIDE
from icd.classes import KnownClasses
from icd.data.catalogue import DataSet
from icd.data.images import image_path
from icd.data.tags import open_tags
from icd.engine.world import World
from icd.errors import InputError
from icd.stages import record


@dataclass(frozen=True)
class Job:
    """What all stages of a chain share.

    Attributes
    ----------
    data : DataSet
    out : Path
        The run folder.
    gpus : str
        As `icd.engine.devices.choose_devices` takes it; asked only by stages that need a device.
    seed, workers : int
    resume : bool
        Whether a training that has begun goes on.
    shard : tuple of int
        (K, N): this process does every N-th image from the K-th on.
    ignore_unknown_tags : bool
        Whether tags of classes that are not in the data set's list are left out, and not refused.
    world : icd.engine.world.World
        The processes that do this together.
    cluster_address : str
        Of the Dask cluster that works image by image in the place of this process: "local", or its scheduler's.
    """

    data: DataSet
    out: Path
    gpus: str = None
    seed: int = 0
    workers: int = 2
    resume: bool = False
    shard: tuple = (1, 1)
    ignore_unknown_tags: bool = False
    world: World = dataclasses.field(default_factory=World)
    cluster_address: str = None

    def __getstate__(self):
        """What a worker of a cluster gets: there everything is done in one process."""
        alone = {"cluster_address": None, "workers": 0}
        return {
            name: value
            for name, value in {**vars(self), **alone}.items()
            if name not in ("devices", "cluster")
        }

    @cached_property
    def cluster(self):
        """The opened cluster; None where there is none."""
        if self.cluster_address is None:
            return None
        from icd.stages.cluster import Cluster  # here: Dask may be missing

        return Cluster(self.cluster_address, self.workers, self.out, [self.data.images])

    def close(self) -> None:
        """Leave the cluster."""
        if vars(self).get("cluster") is not None:
            self.cluster.close()

    @property
    def pool(self):
        """What to give as `workers` for what is read, checked or counted image by image: the cluster, or a number."""
        return self.cluster or self.workers

    @cached_property
    def devices(self) -> tuple:
        """The devices to compute on, and a line that says why these."""
        from icd.engine.devices import choose_devices  # here: most stages need no device

        return choose_devices(self.gpus)

    @cached_property
    def tags(self):
        """The opened source of tags; None for images without."""
        classes = self.known_classes if self.ignore_unknown_tags else self.data.classes
        return None if self.data.tags is None else open_tags(self.data.tags, classes)

    @cached_property
    def known_classes(self) -> KnownClasses:
        """The classes, which count the tags of others."""
        return KnownClasses(self.data.classes)

    def __hash__(self):
        return id(self)

    def dataset(self, ids, planes=None, tagged=True):
        """The photographs of some ids at their working size, with their tags, and with planes from these folders."""
        from icd.data.dataset import ImageDataset

        tags = self.tags if tagged else None
        return ImageDataset(self.data.images, tags, ids, self.data.classes, planes, self.data.max_side)

    @property
    def facts(self) -> dict:
        """What the files of every stage depend on; nothing at the defaults, so that files made before stay valid."""
        return {} if self.data.max_side in (MAX_SIDE, None) else {"max_side": self.data.max_side}

    @lru_cache(maxsize=None)  # noqa: B019  (a job lives as long as its process)
    def fingerprint(self, image_id: str) -> str:
        """What tells the photograph and tags of an id from others of the same name."""
        tags = None
        if self.tags is not None:
            try:
                tags = self.tags.read(image_id)
            except InputError:  # the business of the check of inputs
                tags = None
        photographs = [] if self.data.images is None else [image_path(self.data.images, image_id)]
        return record.fingerprint(photographs, tags)
