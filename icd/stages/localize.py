"""The stage that localizes: the score maps of a trained method for the tags of every image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from icd.provenance import file_sha256
from icd.stages.base import Stage, ids_without_file, setting
from icd.stages.train import Train


@dataclass(frozen=True)
class Localize(Stage):
    """See the module's docstring; a product for each kind of score maps of the method."""

    kind: ClassVar[str] = "localize"
    source: Train = None
    infer_size: int = setting("side of the inference frame, for methods that have one", None)
    infer_batch: int = setting("images a step, where they can be batched", 4)
    map_type: str = setting("type of the stored maps", None, choices=("float32", "float16", "uint8"))
    for_training: bool = setting("whether another training learns from the maps", False)

    @property
    def method(self):
        """The method's class."""
        return self.source.trained_class

    @property
    def rules(self) -> dict:
        """The seed rule of every kind of score maps."""
        return self.method.score_maps

    @property
    def presentation(self):
        """How images are shown."""
        return self.method.presentation(self.source.recipe, self.infer_size or self.job.data.infer_size)

    def products(self):
        """`scores_<kind>`, the method's own kind last."""
        return {kind: self.folder / f"scores_{kind}" for kind in self.method.score_maps}

    def ids(self):
        """The images that get masks, or those that another training learns from."""
        return self.job.data.ids if self.for_training else self.job.data.infer_ids

    def facts(self, label=""):
        """The weights, and how images are shown."""
        return {
            "weights": file_sha256(self.source.weights),
            "presentation": repr(self.presentation),
            "map_type": self.map_type or self.method.map_type,
        }

    def left(self):
        """The ids that lack score maps of some kind."""
        return ids_without_file(self.share(), self.products().values(), ".npz")

    @property
    def together(self):
        """As many as a step takes, so that the parts of a cluster's workers have the same steps."""
        return self.infer_batch

    @cached_property
    def network(self):
        """The trained method."""
        return self.source.load()

    def work(self, ids):
        """Localize."""
        from icd.data.batches import InferenceBatches
        from icd.engine.localize import localize

        method, dataset = self.network, self.job.dataset(ids)
        batches = InferenceBatches(dataset, self.infer_batch, self.presentation, workers=self.job.workers)
        localize(method, batches, self.job.devices[0], self.products(), self.map_type or method.map_type)
