"""Writes pictures of what each method makes of the same photographs: a photograph a row, a method a column.

    python benchmarks/method_pictures.py             after `python benchmarks/results.py embedded`
    python benchmarks/method_pictures.py animals     after its runs

For each method a picture of the photographs on which it does best and worst, in snapshot/pictures, with a page that shows them all.
Of the embedded set also docs/methods.jpg: the best and the worst by the mean of all methods.
A row is a photograph: itself, its true mask, then the seeds of every method without CRF and saliency, random seed 0.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
from result_tables import ROWS
from results import ROOT, run_folder, seed_folders

from icd.data.images import image_path, read_image
from icd.evaluate.compare import read_scores
from icd.files import mask_path, read_json, read_mask, write_atomic
from icd.pictures import overlay, write_rows

SHOWN = 5  # best, and as many worst
WIDTH = 80  # pixels of a photograph
QUALITY = 70  # of JPEG
# Names that fit above a column: the method's, with the kind of score maps where it has two.
SHORT = {
    title: "cam of icd" if (method, kind) == ("icd", "cam") else method for title, method, kind, _ in ROWS
}


def columns_of(data: str) -> dict:
    """Of every finished run of seed 0, by title: its folder, that of its masks, and the mIoU of every image."""
    found = {}
    for title, method, kind, _ in ROWS:
        folder = run_folder(data, method, 0)
        if (folder / "scores.json").is_file():
            scores = read_scores(folder)
            (entry,) = (one for one in scores if (one["kind"], one["variant"]) == (kind, "nocrf"))
            found[title] = folder, seed_folders(folder, scores)[kind], entry["per_image"]
    return found


def extremes(per_image: dict) -> list:
    """The ids of the best and of the worst."""
    order = sorted(per_image, key=lambda image_id: (-per_image[image_id], image_id))
    return [*order[:SHOWN], *order[-SHOWN:]]


def rows_of(columns: dict, ids: list) -> list:
    """Rows of pictures, below one with the columns' names."""
    names = ["photograph", "true mask", *(SHORT[title] for title in columns)]
    run = read_json(next(iter(columns.values()))[0] / "run.json")
    folders = [run["eval_root"], *(masks for _, masks, _ in columns.values())]
    heading = np.concatenate([label(name) for name in names], axis=1)
    rows = [row(read_image(image_path(run["image_root"], one)), [read_mask(mask_path(f, one)) for f in folders])
            for one in ids]  # fmt: skip
    return [heading, *rows]


def label(name: str) -> np.ndarray:
    """A name on white, as wide as a panel."""
    panel = np.full((14, WIDTH + 2, 3), 255, np.uint8)
    return cv2.putText(panel, name, (2, 10), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (0, 0, 0), 1, cv2.LINE_AA)


def row(photograph: np.ndarray, masks: list) -> np.ndarray:
    """A photograph, and under each of its masks."""
    panels = [photograph, *(overlay(photograph, mask) for mask in masks)]
    size = WIDTH, round(WIDTH * photograph.shape[0] / photograph.shape[1])
    panels = [cv2.resize(panel, size, interpolation=cv2.INTER_AREA) for panel in panels]
    border = {"borderType": cv2.BORDER_CONSTANT, "value": (255,) * 3}
    return np.concatenate([cv2.copyMakeBorder(panel, 1, 1, 1, 1, **border) for panel in panels], axis=1)


def main() -> None:
    """Write the pictures and their page."""
    data = sys.argv[1] if len(sys.argv) > 1 else "embedded"
    columns, target = columns_of(data), ROOT / "snapshot" / "pictures" / data
    scored = [image_id for image_id in next(iter(columns.values()))[2]
              if all(per_image.get(image_id) is not None for *_, per_image in columns.values())]  # fmt: skip
    text = f"# {data}\n\nPhotograph, true mask, {', '.join(columns)}. 255 is cream.\n"
    for title, (_, _, per_image) in columns.items():
        name = "".join(letter if letter.isalnum() else "-" for letter in title.lower()) + ".jpg"
        chosen = extremes({image_id: per_image[image_id] for image_id in scored})
        write_rows(target / name, rows_of(columns, chosen), QUALITY)
        text += f"\n## {title}: best and worst\n\n![{title}]({name})\n"
    write_atomic(target / "README.md", text.encode())
    print(target / "README.md")
    if data == "embedded":
        means = {
            one: float(np.mean([per_image[one] for *_, per_image in columns.values()])) for one in scored
        }
        write_rows(ROOT / "docs" / "methods.jpg", rows_of(columns, extremes(means)), QUALITY)
        print(f"docs/methods.jpg: photograph, true mask, {', '.join(columns)}")


if __name__ == "__main__":
    main()
