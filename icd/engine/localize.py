"""Localization of any method over a list of images. In: a trained method, whole images. Out: a file of score maps each.

Batches go to the devices in turn; a batch is waited for when the next device is needed again. `score_maps_of` works without MXNet, on
what another runtime computed.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from tqdm import tqdm

from icd import compat
from icd.files import ScoreMaps, score_maps_path, write_score_maps

PIXELS_AT_ONCE = 2**21
"""Of views that a network sees at once, unless a single view has more: a mirrored pair of VOC's size at scale 2 is 1.5 million."""


def localize(method, batches, contexts: list, folders: dict, map_type: str) -> None:
    """Write the score maps of every image that `batches` yields.

    Parameters
    ----------
    method : icd.trainable.Method
    batches : icd.data.batches.InferenceBatches
    contexts : list of mxnet.Context
    folders : dict of pathlib.Path
        A folder for every name in `method.score_maps`.
    map_type : {"float32", "float16", "uint8"}
        Of the stored maps.
    """

    def write(batch, outputs):
        outputs = _fetch(outputs)
        for place, image_id in enumerate(batch["ids"]):
            for name, scores in score_maps_of(method, batch, outputs, place, map_type).items():
                write_score_maps(score_maps_path(folders[name], image_id), scores)

    over_devices(batches, contexts, lambda batch, context: _start(method, batch, context), write, "localize")


def over_devices(batches, contexts: list, start, finish, what: str) -> None:
    """Give batches to the devices in turn; wait for one when its device is needed again, or there are no more.

    Parameters
    ----------
    batches : icd.data.batches.InferenceBatches
        It is closed at the end.
    start : callable
        (batch, context) -> outputs that are perhaps not computed yet.
    finish : callable
        Called with a batch and its outputs, in the order of the batches.
    what : str
        The work, for the progress bar.
    """

    def finish_oldest():
        batch, outputs = pending.popleft()
        finish(batch, outputs)
        bar.update(len(batch["ids"]))

    pending = deque()
    try:
        with tqdm(total=batches.num_images, unit="image", desc=what, dynamic_ncols=True, disable=None) as bar:
            for number, batch in enumerate(batches):
                pending.append((batch, start(batch, contexts[number % len(contexts)])))
                if len(pending) == len(contexts):
                    finish_oldest()
            while pending:
                finish_oldest()
    finally:
        batches.close()


def localize_views(method, batch: dict, context) -> list:
    """What `method.localize` gives for every scale of a batch of `icd.data.batches.InferenceBatches`, as numpy arrays."""
    return _fetch(_start(method, batch, context))


def _start(method, batch: dict, context) -> list:
    return run_views(method.localize, batch["views"], context)


def run_views(network, views: list, context) -> list:
    """What a network gives for the views of every scale: few of them at once where they are large.

    Networks know nothing of the other views of a batch, so results do not depend on how many are seen at once. The memory of
    a photograph's largest scale is that of one view and not of the mirrored pair.

    Parameters
    ----------
    network : callable
        Views (m, 3, h, w) -> a dict of NDArray with one entry a view.
    views : list of numpy.ndarray, shape (m, 3, h, w)
    context : mxnet.Context
    """
    outputs = []
    for of_scale in views:
        together = max(1, PIXELS_AT_ONCE // (of_scale.shape[2] * of_scale.shape[3]))
        parts = [
            network(compat.mx.nd.array(of_scale[begin : begin + together], context, dtype="float32"))
            for begin in range(0, len(of_scale), together)
        ]
        outputs.append({name: _joined([part[name] for part in parts]) for name in parts[0]})
    return outputs


def _joined(parts: list):
    return parts[0] if len(parts) == 1 else compat.mx.nd.concat(*parts, dim=0)


def _fetch(outputs: list) -> list:
    """Wait for the device, and copy whole batches from it rather than image by image."""
    return [{name: values.asnumpy() for name, values in of_scale.items()} for of_scale in outputs]


def score_maps_of(method, batch: dict, outputs: list, place: int, map_type="float32") -> dict:
    """The score maps of one image of a batch, by name, for its tags.

    Parameters
    ----------
    method
        Or anything else that has `score_maps`, `fusion`, `mirror_fusion`, `alignment` and `normalization`.
    outputs : list of dict of numpy.ndarray
        From `localize_views` or another runtime.
    place : int
        The image's place in the batch.

    Returns
    -------
    dict of ScoreMaps
    """
    present = np.flatnonzero(batch["label"][place])
    views = len(batch["views"][0]) // len(batch["label"])
    found = {}
    for name in method.score_maps:
        grids = []
        for output in outputs:
            maps = output[name][views * place : views * (place + 1), present]
            # A mirrored pair becomes one here; mirroring the grid mirrors what is interpolated from it.
            grids.append(maps[0] if views == 1 else _PAIR[method.mirror_fusion](maps[0], maps[1, ..., ::-1]))
        if method.fusion == "max" and len({grid.shape for grid in grids}) == 1:
            grids = [np.maximum.reduce(grids)]
        maps, *further = (_stored(grid, map_type) for grid in grids)
        found[name] = ScoreMaps(
            (present + 1).astype(np.int16),
            maps,
            batch["sizes"][place],
            batch["frames"][place],
            tuple(further),
            method.fusion,
            method.alignment,
            _sizes(batch["views"]) if method.alignment == "views" else (),
            method.normalization,
        )
    return found


_PAIR = {"sum": np.add, "max": np.maximum}


def _sizes(views: list) -> tuple:
    """Height and width of the views of every scale."""
    return tuple(of_scale.shape[2:] for of_scale in views)


def _stored(maps: np.ndarray, map_type: str) -> np.ndarray:
    return (255 * maps if map_type == "uint8" else maps).astype(map_type)
