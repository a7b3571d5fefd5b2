"""The stage of raw superpixels. In: photographs. Out: a PNG of ids an image.

The stage skips images that are done; `segment_files` does not.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from icd.data.images import image_path, read_image
from icd.files import superpixels_path, write_superpixels
from icd.refine.arguments import checked_threads
from icd.refine.superpixels import segment


def raw_superpixels(ids, image_root, target, k: float = 75.0) -> None:
    """Segment every image that has no superpixels in `target` yet."""
    left = missing_ids(ids, target)
    with tqdm(total=len(left), unit="image", desc="superpixels", dynamic_ncols=True) as bar:
        segment_files(left, image_root, target, k, done=lambda _: bar.update())


def segment_files(image_ids, image_folder, target_folder, k=75.0, threads=0, done=None) -> None:
    """Segment `<image_folder>/<id>.jpg` into `<target_folder>/<id>.png` for every id, several images at once.

    Parameters
    ----------
    image_ids : list of str
    k : float
        Threshold constant; its integer part is the minimum size.
    threads : int
        Images at work at once, 0 = all processors.
    done : callable, optional
        Called with each id, in order, when its file is written.

    Raises
    ------
    InputError
        An image is missing or damaged; files written before stay.
    """
    Path(target_folder).mkdir(parents=True, exist_ok=True)

    def work(image_id):
        ids = segment(read_image(image_path(image_folder, image_id)), k)
        write_superpixels(superpixels_path(target_folder, image_id), ids)
        return image_id

    with ThreadPoolExecutor(checked_threads(threads) or os.cpu_count()) as pool:
        pending = [pool.submit(work, image_id) for image_id in image_ids]
        try:
            for future in pending:
                image_id = future.result()
                if done is not None:
                    done(image_id)
        except BaseException:
            for future in pending:
                future.cancel()
            raise


def missing_ids(ids, folder) -> list:
    """The ids that have no superpixels in a folder yet."""
    done = {path.stem for path in Path(folder).glob("*.png")}
    return [image_id for image_id in ids if image_id not in done]
