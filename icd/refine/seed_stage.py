"""The seed stage: from folders of score maps to folders of masks, image by image, on all cores.

In: score maps (`icd.files`), photographs for the CRF, saliency maps. Out: a mask for every variant. Images whose masks
are all there are skipped, so that the stage can be stopped, resumed and split.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from icd.data.images import image_path, read_image, read_image_size
from icd.data.workers import Workers
from icd.files import mask_path, read_json, read_saliency, write_mask
from icd.foreign.layouts import find_score_maps, read_layout
from icd.provenance import claim_folder, made_with
from icd.refine.seeds import CAM_THRESHOLD, DRS_LEAST, cam_seed, crf_seed, drs_seed, icd_seed

VARIANTS = ("nocrf", "crf", "sal")
POLICIES = {
    "icd": "none",
    "cam": f"fixed {CAM_THRESHOLD} of the maximum",
    "drs": f"fixed {DRS_LEAST}, and the saliency where it is used",
}
"""The rules of seeds, and how each comes by its background threshold."""


@dataclass(frozen=True)
class SeedJob:
    """Makes the seeds of one image; calling it with an id returns the id.

    Attributes
    ----------
    rule : str
        One of `POLICIES`.
    map_root, cam_root : pathlib.Path
        Score maps in any layout of `icd.foreign.layouts`; `cam_root`, the CAM beside ICD's own, for the rule `icd` only.
    image_root, saliency_root : pathlib.Path or None
        Photographs for the variant `crf`, saliency maps for `sal`.
    tags : icd.data.tags.XmlTags, icd.data.tags.TableTags or None
        With `image_root`, for the layout that says neither size nor classes.
    target_root : pathlib.Path
        Masks go to `<target_root>/<variant>/<id>.png`.
    variants : tuple of str
        Some of `VARIANTS`.
    classes : tuple of str
        Names of the foreground classes 1..C.
    cam_threshold : float
        Of the rule `cam`.
    crf_preset, crf_backend : str
        See `icd.refine.crf`.
    """

    rule: str
    map_root: Path
    target_root: Path
    classes: tuple
    cam_root: Path = None
    image_root: Path = None
    tags: object = None
    saliency_root: Path = None
    variants: tuple = ("nocrf", "crf")
    cam_threshold: float = CAM_THRESHOLD
    crf_preset: str = "icd"
    crf_backend: str = "native"

    def target(self, variant, image_id) -> Path:
        """Where a mask goes."""
        return mask_path(self.target_root / variant, image_id)

    def __call__(self, image_id):
        """Make what is missing of one image's seeds."""
        wanted = [variant for variant in self.variants if not self.target(variant, image_id).is_file()]
        maps = self._read(self.map_root, image_id)
        cam = self._read(self.cam_root, image_id) if self.rule == "icd" else None
        if {"nocrf", "crf"} & set(wanted):
            seed = self._seed(maps, cam, None)
            if "nocrf" in wanted:
                write_mask(self.target("nocrf", image_id), seed)
            if "crf" in wanted:
                image = read_image(image_path(self.image_root, image_id))
                refined = crf_seed(
                    seed, image, len(self.classes), self.crf_preset, self.crf_backend, threads=1
                )
                write_mask(self.target("crf", image_id), refined)
        if "sal" in wanted:
            saliency = read_saliency(mask_path(self.saliency_root, image_id), maps.size)
            write_mask(self.target("sal", image_id), self._seed(maps, cam, saliency))
        return image_id

    def facts(self, variant: str) -> dict:
        """What the seeds of a variant are made with."""
        maps = made_with(self.map_root)
        facts = {
            "rule": self.rule,
            "classes": list(self.classes),
            "maps": read_json(maps) if maps.is_file() else None,
        }
        if self.rule == "cam":
            facts["threshold"] = self.cam_threshold
        if variant == "crf":
            facts["crf"] = [self.crf_preset, self.crf_backend]
        return facts

    def _read(self, folder, image_id):
        path = find_score_maps(folder, image_id)
        if path.suffix == ".npz":
            return read_layout(path)
        tags = None if self.tags is None else self.tags.read(image_id)
        size = None
        if self.image_root is not None:
            size = read_image_size(image_path(self.image_root, image_id))
        return read_layout(path, tags=tags, size=size)

    def _seed(self, maps, cam, saliency):
        if self.rule == "icd":
            return icd_seed(maps, cam, saliency)
        if self.rule == "drs":
            return drs_seed(maps, saliency)
        return cam_seed(maps, self.cam_threshold, saliency)


def make_seeds(job: SeedJob, ids, workers: int, label: str = "seeds") -> None:
    """Make the seeds of many images.

    Parameters
    ----------
    ids : sequence of str
    workers : int
        Processes; 0 works in this one.
    label : str
        Before the progress bar.
    """
    for variant in job.variants:
        claim_folder(job.target_root / variant, job.facts(variant))
    left = [i for i in ids if not all(job.target(variant, i).is_file() for variant in job.variants)]
    pool = Workers(job, workers if len(left) > workers else 0)
    try:
        for _ in tqdm(pool.map(left), total=len(left), unit="image", desc=label, dynamic_ncols=True):
            pass
    finally:
        pool.close()
