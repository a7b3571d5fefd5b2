"""The stage of raw superpixels. In: photographs. Out: a PNG of ids an image; images that are done are skipped."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from icd.refine.superpixels import segment_files


def raw_superpixels(ids, image_root, target, k: float = 75.0) -> None:
    """Segment every image that has no superpixels in `target` yet."""
    left = missing_ids(ids, target)
    with tqdm(total=len(left), unit="image", desc="superpixels", dynamic_ncols=True) as bar:
        segment_files(left, image_root, target, k, done=lambda _: bar.update())


def missing_ids(ids, folder) -> list:
    """The ids that have no superpixels in a folder yet."""
    done = {path.stem for path in Path(folder).glob("*.png")}
    return [image_id for image_id in ids if image_id not in done]
