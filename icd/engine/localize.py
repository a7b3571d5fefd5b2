"""Localization of any method over a list of images. In: a trained method, whole images. Out: a file of score maps each.

An image whose files are there already is skipped, so the stage can be stopped, resumed and split over machines.
"""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from icd.engine.parts import split_batch
from icd.files import ScoreMaps, score_maps_path, write_score_maps


def localized_ids(folders: dict, ids) -> frozenset:
    """The ids all of whose score maps are there; `folders` names a folder for every kind of map."""
    done = [{path.stem for path in folder.glob("*.npz")} for folder in folders.values()]
    return frozenset(ids).intersection(*done)


def localize(method, batches, contexts: list, folders: dict, dtype=np.float32) -> None:
    """Write the score maps of every image that `batches` yields.

    Parameters
    ----------
    method : icd.methods.base.Method
    batches : icd.data.batches.InferenceBatches
    contexts : list of mxnet.Context
    folders : dict of pathlib.Path
        A folder for every name in `method.score_maps`.
    dtype : numpy.dtype
        Of the stored maps.
    """
    try:
        with tqdm(total=batches.num_images, unit="image", desc="localize", dynamic_ncols=True) as bar:
            for batch in batches:
                parts = split_batch(batch, contexts)
                maps = [method.localize(part["image"], part["label"]) for part in parts]
                for name in method.score_maps:
                    values = np.concatenate([part[name].asnumpy() for part in maps])
                    _write(folders[name], batch, values.astype(dtype))
                bar.update(len(batch["ids"]))
    finally:
        batches.close()


def _write(folder, batch: dict, values: np.ndarray) -> None:
    for image_id, label, size, frame, maps in zip(
        batch["ids"], batch["label"], batch["sizes"], batch["frames"], values
    ):
        present = np.flatnonzero(label)
        scores = ScoreMaps((present + 1).astype(np.int16), maps[present], size, frame)
        write_score_maps(score_maps_path(folder, image_id), scores)
