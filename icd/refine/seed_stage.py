"""The seed stage: from folders of score maps to folders of masks, image by image, on all cores.

In: score maps (`icd.files`), photographs for the CRF, saliency maps. Out: a mask for every variant. Images whose masks
are all there are skipped, so that the stage can be stopped, resumed and split.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from icd.data.images import image_path, read_image
from icd.data.workers import Workers
from icd.files import mask_path, read_saliency, read_score_maps, score_maps_path, write_mask
from icd.refine.seeds import CAM_THRESHOLD, cam_seed, crf_seed, icd_seed

VARIANTS = ("nocrf", "crf", "sal")


@dataclass(frozen=True)
class SeedJob:
    """Makes the seeds of one image; calling it with an id returns the id.

    Attributes
    ----------
    rule : {"icd", "cam"}
        `icd` needs both kinds of score maps.
    cam_root, icd_root, image_root, saliency_root : pathlib.Path or None
        `icd_root` for the rule `icd`, `image_root` for the variant `crf`, `saliency_root` for `sal`.
    target_root : pathlib.Path
        Masks go to `<target_root>/<variant>/<id>.png`.
    variants : tuple of str
        Some of `VARIANTS`.
    num_classes : int
        Foreground classes.
    cam_threshold : float
        Of the rule `cam`.
    crf_preset, crf_backend : str
        See `icd.refine.crf`.
    """

    rule: str
    cam_root: Path
    target_root: Path
    num_classes: int
    icd_root: Path = None
    image_root: Path = None
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
        cam = read_score_maps(score_maps_path(self.cam_root, image_id))
        icd = read_score_maps(score_maps_path(self.icd_root, image_id)) if self.rule == "icd" else None
        if {"nocrf", "crf"} & set(wanted):
            seed = self._seed(cam, icd, None)
            if "nocrf" in wanted:
                write_mask(self.target("nocrf", image_id), seed)
            if "crf" in wanted:
                image = read_image(image_path(self.image_root, image_id))
                refined = crf_seed(
                    seed, image, self.num_classes, self.crf_preset, self.crf_backend, threads=1
                )
                write_mask(self.target("crf", image_id), refined)
        if "sal" in wanted:
            saliency = read_saliency(mask_path(self.saliency_root, image_id), cam.size)
            write_mask(self.target("sal", image_id), self._seed(cam, icd, saliency))
        return image_id

    def _seed(self, cam, icd, saliency):
        if self.rule == "icd":
            return icd_seed(icd, cam, saliency)
        return cam_seed(cam, self.cam_threshold, saliency)


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
    left = [i for i in ids if not all(job.target(variant, i).is_file() for variant in job.variants)]
    pool = Workers(job, workers if len(left) > workers else 0)
    try:
        for _ in tqdm(pool.map(left), total=len(left), unit="image", desc=label, dynamic_ncols=True):
            pass
    finally:
        pool.close()
