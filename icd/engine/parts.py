"""Batches on devices. In: a batch of numpy arrays. Out: one dictionary of NDArrays for every device."""

from __future__ import annotations

from icd.compat import mx

ABOUT = ("ids", "batch_ids", "copies")  # what a batch holds beside arrays


def split_batch(batch: dict, contexts: list) -> list:
    """Split a batch over devices, in contiguous parts that are as equal as can be; idle devices get none.

    Parameters
    ----------
    batch : dict of numpy.ndarray
        As `icd.data.batches` describes.
    contexts : list of mxnet.Context

    Returns
    -------
    list of dict
        `image` float32 (n, 3, S, S), `label` float32 (n, C), and the planes of the batch as float32; with `superpixel`
        there is `regions` float32 (K), the numbers 0 to the batch's largest id.
    """
    count = len(batch["ids"])
    borders = [count * index // len(contexts) for index in range(len(contexts) + 1)]
    parts = []
    for context, begin, end in zip(contexts, borders, borders[1:]):
        if begin == end:
            continue
        part = {
            name: mx.nd.array(batch[name][begin:end], context, dtype="float32")
            for name in batch
            if name not in ABOUT
        }
        if "superpixel" in batch:
            part["regions"] = mx.nd.arange(int(batch["superpixel"].max()) + 1, ctx=context)
        parts.append(part)
    return parts
