"""Writes docs/example.png, the picture of the README: image, CAM, ICD's map, ICD's seed, truth of a few scenes.

python run_icd.py --snapshot RUN && python benchmarks/picture.py RUN
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from icd.classes import voc_palette  # noqa: E402
from icd.data.images import image_path, read_image  # noqa: E402
from icd.files import mask_path, read_mask, read_score_maps, score_maps_path, write_atomic  # noqa: E402
from icd.grid import maps_on_image, positive_share  # noqa: E402
from icd.pictures import heat_map, picture_row  # noqa: E402
from icd.provenance import read_run  # noqa: E402

SCENES = ("scene_0149", "scene_0007", "scene_0168")  # of middling score: ranks 100 to 130 of 256


def row(folder: Path, run: dict, image_id: str) -> np.ndarray:
    """The five pictures of one scene."""
    image = read_image(image_path(run["image_root"], image_id))
    maps = []
    for kind in ("cam", "icd"):
        scores = read_score_maps(score_maps_path(folder / "results" / f"scores_{kind}", image_id))
        maps.append(heat_map(positive_share(maps_on_image(scores)).max(0), image))
    seed = read_mask(mask_path(folder / "results" / "seeds" / "nocrf", image_id))
    truth = read_mask(mask_path(run["eval_root"], image_id))
    return framed_row([image, *maps, voc_palette()[seed], voc_palette()[truth]])


def framed_row(panels: list) -> np.ndarray:
    """RGB pictures beside each other, with white between."""
    return picture_row(
        [cv2.copyMakeBorder(p, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255,) * 3) for p in panels]
    )


def write_picture(path: Path, rows: list) -> None:
    """Write rows below each other, all as wide as the narrowest."""
    width = min(one.shape[1] for one in rows)
    rows = [cv2.resize(one, (width, round(one.shape[0] * width / one.shape[1]))) for one in rows]
    _, content = cv2.imencode(".png", np.concatenate(rows)[..., ::-1])
    write_atomic(path, content.tobytes())


def main() -> None:
    """Write the picture from a run folder."""
    folder = Path(sys.argv[1])
    run = read_run(folder)
    write_picture(ROOT / "docs" / "example.png", [row(folder, run, image_id) for image_id in SCENES])


if __name__ == "__main__":
    main()
