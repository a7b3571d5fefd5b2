"""The embedded set: a small folder in VOC's layout, drawn by the package itself. In: where to put it. Out:
its paths.

Every file depends on this package alone, so that examples and tests need no download. The folder appears
whole or not at all, and carries a stamp: when the code that draws it changes, it is drawn anew.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from icd.data import scenes
from icd.data.dataset import require_folder
from icd.data.images import image_path
from icd.data.tags import annotation_path
from icd.errors import InputError
from icd.files import mask_path, write_atomic, write_mask

_TRAINING, _VALIDATION = 256, 40  # images
_STAMP = "version.txt"


@dataclass(frozen=True)
class EmbeddedPaths:
    """Where the parts of the embedded set lie; `data_list` names the training images, `val_list` the rest."""

    image_root: Path
    annotation_root: Path
    truth_root: Path
    saliency_root: Path
    data_list: Path
    val_list: Path
    classes_file: Path


def prepare_embedded(folder) -> EmbeddedPaths:
    """Make sure that the embedded set lies in `folder`; draws it (in seconds) unless it is already there.

    Parameters
    ----------
    folder : str or os.PathLike
        A new or empty folder, or one that this function made.

    Returns
    -------
    EmbeddedPaths

    Raises
    ------
    InputError
        The folder holds something else.
    """
    folder = Path(folder)
    if not _is_current(folder):
        _refuse_foreign(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            _write_set(_paths(Path(temporary) / "new"))
            write_atomic(Path(temporary) / "new" / _STAMP, _version().encode())
            _swap(folder, Path(temporary))
    return _paths(folder)


def _paths(folder: Path) -> EmbeddedPaths:
    return EmbeddedPaths(
        image_root=folder / "JPEGImages",
        annotation_root=folder / "Annotations",
        truth_root=folder / "SegmentationClassAug",
        saliency_root=folder / "saliency",
        data_list=folder / "ImageSets" / "Segmentation" / "train.txt",
        val_list=folder / "ImageSets" / "Segmentation" / "val.txt",
        classes_file=folder / "classes.txt",
    )


def _version() -> str:
    """A number of the code that draws the set."""
    code = b"".join(Path(name).read_bytes() for name in (__file__, scenes.__file__))
    return hashlib.sha256(code).hexdigest()


def _is_current(folder: Path) -> bool:
    stamp = folder / _STAMP
    return stamp.is_file() and stamp.read_text() == _version()


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists():
        return
    require_folder(folder)
    if any(folder.iterdir()) and not (folder / _STAMP).is_file():
        remedy = "Give another folder; nothing was changed."
        raise InputError(folder, "a new or empty folder, or the embedded set", "other files", remedy)


def _swap(folder: Path, temporary: Path) -> None:
    """Put `temporary`/new in the place of `folder`; what was there goes with `temporary`."""
    try:
        if folder.exists():
            os.rename(folder, temporary / "old")
        os.rename(temporary / "new", folder)
    except OSError:
        if not _is_current(folder):  # otherwise another process was faster and has drawn the same
            raise


def _write_set(paths: EmbeddedPaths) -> None:
    for root in (paths.image_root, paths.annotation_root, paths.truth_root, paths.saliency_root):
        root.mkdir(parents=True)
    ids = [f"scene_{number:04d}" for number in range(1, _TRAINING + _VALIDATION + 1)]
    for number, image_id in enumerate(ids):
        random = np.random.RandomState(number)
        scene = scenes.draw_scene(_choose_classes(number, random), random)
        _write_scene(paths, image_id, scene)
    for path, chosen in ((paths.data_list, ids[:_TRAINING]), (paths.val_list, ids[_TRAINING:])):
        write_atomic(path, ("\n".join(chosen) + "\n").encode())
    write_atomic(paths.classes_file, ("\n".join(scenes.CLASSES) + "\n").encode())


def _choose_classes(number: int, random) -> list:
    """One class in turn; two in a quarter of the images."""
    count, first = len(scenes.CLASSES), number % len(scenes.CLASSES)
    if (number // count) % 4:
        return [first + 1]
    second = (first + random.randint(1, count)) % count
    return [first + 1, second + 1]


def _write_scene(paths: EmbeddedPaths, image_id: str, scene: scenes.Scene) -> None:
    write_atomic(image_path(paths.image_root, image_id), _encoded(scene.image, "JPEG", quality=92))
    write_atomic(annotation_path(paths.annotation_root, image_id), _annotation(image_id, scene.truth))
    write_mask(mask_path(paths.truth_root, image_id), scene.truth)
    write_atomic(mask_path(paths.saliency_root, image_id), _encoded(scene.saliency, "PNG"))


def _encoded(pixels, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _annotation(image_id: str, truth) -> bytes:
    """The tags and boxes of an image as VOC writes them; boxes count pixels from 1."""
    root = ElementTree.Element("annotation")
    _add_texts(root, {"filename": f"{image_id}.jpg"})
    _add_texts(
        ElementTree.SubElement(root, "size"), {"width": truth.shape[1], "height": truth.shape[0], "depth": 3}
    )
    for number in np.unique(truth[truth > 0]):
        rows, columns = np.nonzero(truth == number)
        node = ElementTree.SubElement(root, "object")
        _add_texts(node, {"name": scenes.CLASSES[number - 1], "difficult": 0})
        box = {"xmin": columns.min(), "ymin": rows.min(), "xmax": columns.max(), "ymax": rows.max()}
        _add_texts(ElementTree.SubElement(node, "bndbox"), {side: value + 1 for side, value in box.items()})
    return ElementTree.tostring(root)


def _add_texts(node, texts: dict) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(node, name).text = str(text)
