"""A run as one self-contained HTML page: `report.html`.

In: a run folder with `run.json`, `scores.json`, `losses.jsonl`, score maps and seeds; what is not there is left out. Out:
one file with tables, charts and pictures that opens without a network.
"""

from __future__ import annotations

import json
from functools import partial as bind
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from icd.classes import VOC_CLASSES
from icd.errors import InputError
from icd.evaluate import charts
from icd.evaluate.compare import read_scores
from icd.evaluate.curve import threshold_curve
from icd.evaluate.gallery import Gallery, choose, score_map_folders
from icd.evaluate.score import score_masks
from icd.evaluate.table import percent
from icd.evaluate.tally import map_on_cores
from icd.files import read_list, write_atomic
from icd.provenance import read_run

TEMPLATE = Path(__file__).with_name("report.html")
MOST_IMAGES = 500
_CURVE_THRESHOLDS = tuple(round(0.02 * k, 2) for k in range(50))
_POINTS = 300


def write_report(
    run_folder,
    *,
    image_root=None,
    truth_root=None,
    id_list=None,
    evaluated_classes=None,
    gallery=60,
    workers=None,
) -> Path:
    """Write `report.html` into a run folder.

    Parameters
    ----------
    run_folder : str or os.PathLike
    image_root, truth_root, id_list : str or os.PathLike, optional
        Photographs, true masks and the list of ids; by default the `image_root`, `eval_root`, and `eval_list` or
        `data_list` of `run.json`. Without photographs and truth their parts are left out.
    evaluated_classes : sequence of int, optional
        As in `icd.evaluate.score_masks`; by default the `eval_classes` of `run.json`.
    gallery : int
        Images to show, at most 500.
    workers : int, optional
        Processes; default all cores.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        The folder is missing, or a file in it is damaged.
    """
    folder = Path(run_folder)
    if not folder.is_dir():
        raise InputError(folder, "a run folder", "nothing there")
    run = read_run(folder)
    sources = _Sources(folder, run, image_root, truth_root, id_list, evaluated_classes, workers)
    entries = read_scores(folder) if (folder / "scores.json").is_file() else []
    sections = [
        ("scores", "Scores", _scores(entries)),
        ("classes", "IoU of every class", _class_bars(entries)),
        ("threshold", "Background threshold", _curves(sources)),
        ("confusion", "Confusion", _confusions(entries)),
        ("gallery", "Pictures", _gallery(sources, min(gallery, MOST_IMAGES))),
        ("losses", "Training", _losses(folder)),
        ("origin", "How it came about", _origin(run)),
    ]
    present = [section for section in sections if section[2]]
    page = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(_title(folder, run)),
        subtitle=escape(_subtitle(run)),
        menu="".join(f'<a href="#{key}">{escape(title)}</a>' for key, title, _ in present),
        sections="".join(
            f'<section id="{key}"><h2>{escape(title)}</h2>{content}</section>'
            for key, title, content in present
        ),
    )
    path = folder / "report.html"
    write_atomic(path, page.encode())
    return path


class _Sources:
    """Where a run's photographs, truths and ids lie: as the caller says, else as `run.json` says, else nowhere."""

    def __init__(self, folder, run, image_root, truth_root, id_list, evaluated_classes, workers):
        self.folder, self.workers = folder, workers
        self.classes = tuple(run.get("classes") or VOC_CLASSES)
        self.image_root = _existing(image_root, run.get("image_root"))
        self.truth_root = _existing(truth_root, run.get("eval_root"))
        described = run.get("data_list") or {}
        path = _existing(id_list, run.get("eval_list") or described.get("path"))
        self.ids = read_list(path) if path else []
        self.evaluated = evaluated_classes or run.get("eval_classes")

    def seed_folder(self):
        """The seeds to rank images by: the last variant made."""
        root = self.folder / "results" / "seeds"
        return next((root / name for name in ("crf", "nocrf", "sal") if (root / name).is_dir()), None)


def _existing(given, recorded):
    """A path that the caller gives must be there; one from `run.json` may have gone."""
    if given is not None:
        if not Path(given).exists():
            raise InputError(given, "a folder or list", "nothing there")
        return Path(given)
    return Path(recorded) if recorded and Path(recorded).exists() else None


def _title(folder: Path, run: dict) -> str:
    return f"{run['method'].upper()} on {run.get('backbone')}" if run.get("method") else folder.resolve().name


def _subtitle(run: dict) -> str:
    listed = run.get("data_list") or {}
    extra = ", ".join(run.get("extra_supervision") or ()) or "none beyond tags"
    weights = (
        Path(run["initial_weights"]["path"]).name if run.get("initial_weights") else "none (random start)"
    )
    parts = [f"extra supervision: {extra}", f"initial weights: {weights}", f"seed {run.get('seed')}"]
    if listed:
        parts.insert(0, f"trained on {listed['ids']} images of {Path(listed['path']).name}")
    return " · ".join(parts) if run else "no run.json: how these results came about is not recorded"


def _scores(entries) -> str:
    if not entries:
        return ""
    policies = any(entry.get("coverage") not in (None, 1.0) for entry in entries)
    header = [
        "predictions",
        "mIoU %",
        "255 is",
        *(["255 dropped", "255 background", "255 error"] if policies else []),
    ]
    header += ["coverage %", "pixel accuracy", "precision", "recall", "boundary IoU", "images", "missing"]
    rows = []
    for entry in entries:
        by_policy = entry.get("miou_per_policy") or {}
        row = [entry["name"], percent(entry["miou"]), entry.get("undefined")]
        row += [percent(by_policy.get(name)) for name in ("drop", "background", "error")] if policies else []
        names = ("coverage", "pixel_accuracy", "foreground_precision", "foreground_recall", "boundary_iou")
        row += [percent(entry.get(name)) for name in names]
        rows.append([*row, entry.get("images"), len(entry.get("missing", ()))])
    return charts.table(header, rows) + _scored_classes(entries[0])


def _scored_classes(entry) -> str:
    evaluated = entry.get("evaluated_classes")
    if evaluated is None or len(evaluated) == len(entry["classes"]):
        return "<p>Mean over all classes and the background; 255 in the truth is not scored.</p>"
    names = ", ".join(entry["classes"][number]["name"] for number in evaluated)
    return f"<p>Scored classes: {escape(names)}. Pixels of other classes are left out of the truth.</p>"


def _class_bars(entries) -> str:
    if not entries:
        return ""
    judged = [
        k
        for k in range(len(entries[0]["classes"]))
        if any(e["classes"][k]["iou"] is not None for e in entries)
    ]
    names = [entries[0]["classes"][k]["name"] for k in judged]
    return charts.class_bars(names, {e["name"]: [e["classes"][k]["iou"] for k in judged] for e in entries})


def _curves(sources) -> str:
    folders = score_map_folders(sources.folder)
    if not folders or sources.truth_root is None or not sources.ids:
        return ""
    series, marks, lines = {}, [], []
    for maps in folders:
        curve = threshold_curve(
            maps, sources.truth_root, sources.ids, _CURVE_THRESHOLDS, classes=sources.classes,
            evaluated_classes=sources.evaluated, normalize=True, workers=sources.workers,
        )  # fmt: skip
        name, miou = maps.name[7:], 100 * curve.miou
        series[name] = (curve.thresholds.tolist(), miou.tolist())
        best, fixed = curve.best, curve.position(0.2)
        for place, text in ((fixed, "fixed threshold"), (best, "best threshold, chosen with the truth")):
            marks.append(
                (float(curve.thresholds[place]), float(miou[place]), f"{name}: {text}, {miou[place]:.2f} %")
            )
        lines.append([name, float(miou[fixed]), f"{curve.thresholds[best]:.2f}", float(miou[best])])
    chart = charts.line_chart("mIoU without CRF", series, "share of a map's maximum", "mIoU in %", marks)
    header = ["score maps", "mIoU % at 0.20, fixed", "best threshold", "mIoU % there, chosen with the truth"]
    return f'<div class="charts">{chart}</div>{charts.table(header, lines)}'


def _confusions(entries) -> str:
    parts = []
    for entry in entries:
        if entry.get("counts"):
            names = [row["name"] for row in entry["classes"]]
            matrix = charts.confusion(names, np.array(entry["counts"], np.int64))
            opened = " open" if entry is entries[-1] else ""
            parts.append(f"<details{opened}><summary>{escape(entry['name'])}</summary>{matrix}</details>")
    intro = "<p>Rows are the truth, columns the prediction, numbers per cent of the truth's pixels.</p>"
    return intro + "".join(parts) if parts else ""


def _gallery(sources, size: int) -> str:
    seeds, per_image = sources.seed_folder(), {}
    if not sources.ids or size < 1:
        return ""
    if seeds and sources.truth_root:
        per_image = score_masks(
            seeds, sources.truth_root, sources.ids, sources.classes, evaluated_classes=sources.evaluated,
            boundary=False, workers=sources.workers,
        ).per_image  # fmt: skip
    chosen = choose(per_image, sources.ids, size)
    side = 224 if len(chosen) <= 100 else 160 if len(chosen) <= 250 else 128
    names = ("background", *sources.classes)
    make = Gallery(sources.folder, sources.image_root, sources.truth_root, names, side)
    chunks = [chosen[start : start + 8] for start in range(0, len(chosen), 8)]
    figures = [figure for chunk in map_on_cores(make, chunks, sources.workers) for figure in chunk]
    ranks = [rank for rank in ("best", "median", "worst") if any(entry[1] == rank for entry in chosen)]
    note = (
        f"Ranked by the mIoU of {seeds.name!r} seeds in the image alone."
        if per_image
        else "Not ranked: no truth."
    )
    return f'<p>{escape(note)}</p>{_filters(ranks, names)}<div id="shots">{"".join(figures)}</div>'


def _filters(ranks, names) -> str:
    buttons = "".join(
        f'<button type="button" data-show="{rank}" aria-pressed="false">{rank}</button>' for rank in ranks
    )
    options = "".join(f'<option value="{k}">{escape(name)}</option>' for k, name in enumerate(names) if k)
    return (
        '<div class="filters"><button type="button" data-show="" aria-pressed="true">all</button>'
        f'{buttons}<label>class <select id="class"><option value="">any</option>{options}</select></label>'
        '<output id="shown" aria-live="polite"></output></div>'
    )


def _losses(folder: Path) -> str:
    path = folder / "losses.jsonl"
    if not path.is_file():
        return ""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError as error:
        raise InputError(path, "one JSON object a line", f"damaged content ({error})") from None
    if not lines:
        return ""
    steps = np.array([line["step"] for line in lines], float)
    names = [name for name in lines[-1] if name not in ("epoch", "step")]
    draw = bind(_loss_chart, steps=steps, lines=lines)
    return f'<div class="charts">{"".join(map(draw, names))}</div>'


def _loss_chart(name: str, steps, lines) -> str:
    values = np.array([line.get(name, np.nan) for line in lines], float)
    parts = np.array_split(np.arange(len(steps)), min(len(steps), _POINTS))
    x = [float(steps[part].mean()) for part in parts]
    y = [float(values[part].mean()) for part in parts]
    known = [(a, b) for a, b in zip(x, y) if b == b]
    return charts.line_chart(name.replace("_", " "), {name: tuple(zip(*known)) or ((), ())}, "step", name)


def _origin(run: dict) -> str:
    rows = [
        [key.replace("_", " "), _fact(value)]
        for key, value in run.items()
        if key not in ("recipe", "versions", "machine")
    ]
    parts = [charts.table(["", ""], rows)] if rows else []
    for key in ("recipe", "versions", "machine"):
        if run.get(key):
            content = charts.table(["", ""], [[name, _fact(value)] for name, value in run[key].items()])
            parts.append(f"<details><summary>{key}</summary>{content}</details>")
    return "".join(parts)


def _fact(value):
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return value if isinstance(value, (int, str, type(None))) else f"{value:g}"
