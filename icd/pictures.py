"""Pictures for people. In: photographs, score maps. Out: score maps as colours, rows of pictures, pages of rows."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from icd.bounded import MAX_SIDE, bounded_maps
from icd.classes import voc_palette
from icd.data.images import image_path, read_bounded
from icd.files import read_mapped_classes, read_score_maps, score_maps_path, write_atomic
from icd.grid import maps_on_image, positive_share

ROW_HEIGHT = 160  # pixels
ROWS_OF_A_CLASS = 20  # as in the original


def heat_map(share: np.ndarray, photograph=None) -> np.ndarray:
    """A score map as colours, over the photograph in gray.

    Parameters
    ----------
    share : numpy.ndarray, shape (H, W)
        0..1, of the map's maximum.
    photograph : numpy.ndarray, shape (H, W, 3), uint8, optional
        RGB.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    """
    level = np.uint8(255 * np.asarray(share))
    colours = np.ascontiguousarray(cv2.applyColorMap(level, cv2.COLORMAP_VIRIDIS)[..., ::-1])
    if photograph is None or photograph.shape != colours.shape:
        return colours
    gray = cv2.cvtColor(cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(colours, 0.65, gray, 0.35, 0)


def overlay(photograph: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A photograph under the colours of its mask; the background stays as it is.

    Parameters
    ----------
    photograph : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    mask : numpy.ndarray, shape (H, W), uint8
        Class numbers.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    """
    blended = cv2.addWeighted(np.ascontiguousarray(photograph), 0.5, voc_palette()[mask], 0.5, 0)
    return np.where((mask > 0)[..., None], blended, photograph)


def write_picture(path, picture: np.ndarray, quality=95) -> None:
    """Write a picture (H, W, 3), uint8 RGB, as the suffix of its name says, JPEG with a quality of 1..100; atomically."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, content = cv2.imencode(Path(path).suffix, np.ascontiguousarray(picture[..., ::-1]), settings)
    write_atomic(path, content.tobytes())


def picture_row(columns) -> np.ndarray:
    """Pictures of one size side by side, scaled to `ROW_HEIGHT`."""
    row = np.concatenate(list(columns), axis=1)
    return cv2.resize(row, (max(1, round(row.shape[1] * ROW_HEIGHT / row.shape[0])), ROW_HEIGHT))


def write_rows(path, rows, quality=95) -> None:
    """Write rows under each other as JPEG, white where a row is shorter; atomically."""
    width = max(row.shape[1] for row in rows)
    white = (255, 255, 255)
    rows = [
        cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], cv2.BORDER_CONSTANT, value=white)
        for row in rows
    ]
    write_picture(path, np.concatenate(rows), quality)


def write_class_pictures(target, ids, image_root, map_folders) -> None:
    """Write `class_<number>.jpg` for every class: photograph and score maps of the first images that have this class alone.

    Parameters
    ----------
    target : str or os.PathLike
    ids : sequence of str
    image_root : str or os.PathLike
    map_folders : sequence of str or os.PathLike
        Folders of score maps, a column each.
    """
    rows = {}
    for image_id in ids:
        paths = [score_maps_path(folder, image_id) for folder in map_folders]
        classes = read_mapped_classes(paths[0])
        if len(classes) != 1:
            continue
        of_class = rows.setdefault(int(classes[0]), [])
        if len(of_class) < ROWS_OF_A_CLASS:
            image, _ = read_bounded(image_path(image_root, image_id), MAX_SIDE)
            scores = (bounded_maps(read_score_maps(path), MAX_SIDE) for path in paths)
            maps = (heat_map(positive_share(maps_on_image(one))[0], image) for one in scores)
            of_class.append(picture_row([image, *maps]))
    for number, of_class in rows.items():
        write_rows(Path(target) / f"class_{number}.jpg", of_class)
