"""Predictions as the archive that the PASCAL VOC evaluation server takes.

In: a folder of masks and the ids of the test list. Out: a `.tar.gz` with
`results/VOC2012/Segmentation/<competition>_test_cls/<id>.png`, palette PNGs with class numbers.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

from icd.errors import InputError
from icd.evaluate.score import index_masks
from icd.files import encode_mask, read_mask, write_atomic

COMPETITIONS = ("comp5", "comp6")


def write_voc_archive(path, prediction_folder, ids, classes: int = 20, competition: str = "comp6") -> int:
    """Write the archive; the same masks give the same bytes.

    Parameters
    ----------
    path : str or os.PathLike
        Name that ends in `.tgz` or `.tar.gz`.
    prediction_folder : str or os.PathLike
    ids : sequence of str
        Every id must have a mask; the server scores nothing else.
    classes : int
        C, the number of foreground classes.
    competition : {"comp5", "comp6"}
        `comp5`: trained on VOC's own data alone; `comp6`: on anything else, too.

    Returns
    -------
    int
        Number of masks.

    Raises
    ------
    InputError
        A mask is missing, damaged, or holds a value that is no class number; 255 is none here.
    """
    if not str(path).endswith((".tgz", ".tar.gz")):
        raise InputError(path, "a name that ends in .tgz or .tar.gz", f"{Path(path).name}")
    if competition not in COMPETITIONS:
        raise InputError("competition", f"one of {', '.join(COMPETITIONS)}", repr(competition))
    masks = index_masks(prediction_folder, ids, complete=True)
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(
        fileobj=packed, mode="w"
    ) as archive:
        for image_id in ids:
            content = _checked(masks[image_id], classes)
            entry = tarfile.TarInfo(f"results/VOC2012/Segmentation/{competition}_test_cls/{image_id}.png")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    write_atomic(path, buffer.getvalue())
    return len(ids)


def _checked(path, classes: int) -> bytes:
    mask = read_mask(path)
    if mask.max() > classes:
        remedy = "The server has no ignore value: fill such pixels first."
        raise InputError(path, f"class numbers 0..{classes}", f"the value {mask.max()}", remedy)
    return encode_mask(mask)
