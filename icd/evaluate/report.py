"""A run as one self-contained HTML page: `report.html`.

In: a run folder with `run.json`, `scores.json`, `losses.jsonl`, score maps and seeds; what is not there is left out. Out:
one file with tables, charts and pictures that opens without a network.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path
from string import Template

from icd.bounded import MAX_SIDE
from icd.classes import VOC_CLASSES
from icd.errors import InputError
from icd.evaluate import charts, sections
from icd.evaluate.compare import NOT_STATED, read_scores
from icd.evaluate.curve import threshold_curve, threshold_of_policy
from icd.evaluate.gallery import RANKS, VARIANTS, Gallery, choose, kinds_of_run, mask_legend
from icd.evaluate.score import score_masks
from icd.evaluate.tally import map_on_cores
from icd.evaluate.threshold_slider import fixed_threshold, slider
from icd.files import read_list, write_atomic
from icd.provenance import read_run

TEMPLATE = Path(__file__).with_name("report.html")
MOST_IMAGES = 500
_MOST_REDRAWN = 100  # pictures, so that the page stays small
_CURVE_THRESHOLDS = tuple(round(0.02 * k, 2) for k in range(50))


def write_report(
    run_folder,
    *,
    image_root=None,
    truth_root=None,
    id_list=None,
    evaluated_classes=None,
    classes=None,
    gallery=60,
    workers=None,
) -> Path:
    """Write `report.html` into a run folder, or into a folder of masks of any program.

    Parameters
    ----------
    run_folder : str or os.PathLike
    image_root, truth_root, id_list : str or os.PathLike, optional
        Photographs, true masks and the list of ids; by default the `image_root`, `eval_root`, and `eval_list` or
        `data_list` of `run.json`. Without photographs and truth their parts are left out.
    evaluated_classes : sequence of int, optional
        As in `icd.evaluate.score_masks`; by default the `eval_classes` of `run.json`.
    classes : sequence of str, optional
        Names of the foreground classes 1..C; by default those of `run.json`, else VOC's.
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
        The folder is missing or holds nothing of a run, or a file in it is damaged.
    """
    folder = Path(run_folder)
    if not folder.is_dir():
        raise InputError(folder, "a run folder", "nothing there")
    run = read_run(folder)
    sources = _Sources(folder, run, image_root, truth_root, id_list, evaluated_classes, classes, workers)
    scored = any(folder.glob("*scores.json"))
    entries = read_scores(folder) if scored else sources.scores_of_masks()
    parts = [
        ("scores", "Scores", sections.scores(entries)),
        ("classes", "IoU of every class", sections.class_bars(entries)),
        ("threshold", "Background threshold", _curves(sources)),
        ("confusion", "Confusion", sections.confusions(entries)),
        ("gallery", "Pictures", _gallery(sources, entries, min(gallery, MOST_IMAGES))),
        ("losses", "Training", sections.losses(folder)),
        ("origin", "How it came about", sections.origin(run)),
    ]
    present = [part for part in parts if part[2]]
    if not present:
        wanted = "a run folder with run.json, scores.json, losses.jsonl or results; or masks <id>.png and their --list"
        raise InputError(folder, wanted, "none of them", "Name the folder that --out named.")
    path = folder / "report.html"
    write_atomic(path, _page(folder, run, present).encode())
    return path


def _page(folder: Path, run: dict, present: list) -> str:
    """The page of the sections (key, title, markup) that there are."""
    template = TEMPLATE.read_text(encoding="utf-8")
    script = template.partition("<script>")[2].partition("</script>")[0]
    return Template(template).substitute(
        script=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        title=escape(_title(folder, run)),
        subtitle=escape(_subtitle(run)),
        menu="".join(f'<a href="#{key}">{escape(title)}</a>' for key, title, _ in present),
        sections="".join(
            f'<section id="{key}"><h2>{escape(title)}</h2>{content}</section>'
            for key, title, content in present
        ),
    )


class _Sources:
    """Where a run's photographs, truths and ids lie: as the caller says, else as `run.json` says, else nowhere."""

    def __init__(self, folder, run, image_root, truth_root, id_list, evaluated_classes, classes, workers):
        self.folder, self.workers = folder, workers
        self.kinds = kinds_of_run(folder)
        self.classes = tuple(classes or run.get("classes") or VOC_CLASSES)
        self.image_root = _existing(image_root, run.get("image_root"))
        self.truth_root = _existing(truth_root, run.get("eval_root"))
        described = run.get("data_list") or {}
        path = _existing(id_list, run.get("eval_list") or described.get("path"))
        self.ids = read_list(path) if path else []
        self.evaluated = evaluated_classes or run.get("eval_classes")
        self.as_scored = truth_root is None and id_list is None and evaluated_classes is None
        self.threshold_policy = run.get("threshold_policy") or ""
        self.max_side = run.get("max_side", MAX_SIDE)

    def scores_of_masks(self) -> list:
        """The score of a folder of masks that no run of ours made; nothing without truth and list."""
        kind = self.kinds[-1] if self.kinds else None
        if kind is None or kind.variants is VARIANTS or self.truth_root is None or not self.ids:
            return []
        scores = score_masks(
            self.folder, self.truth_root, self.ids, self.classes, evaluated_classes=self.evaluated, workers=self.workers,
            partial=self.folder / ".scores.npz",
        )  # fmt: skip
        return [{"name": self.folder.resolve().name, **scores.as_dict()}]

    def ranking(self, entries) -> tuple:
        """The name of the seeds to rank images by, and the mIoU of every image; from `scores.json` where it has them."""
        kind = (self.kinds or [None])[-1]
        variant = kind and next((name for name in kind.variants if (kind.seeds / name).is_dir()), None)
        if variant is None or self.truth_root is None:
            return "", {}
        known = [e for e in entries if e["name"] == f"{kind.name} {variant}" and e.get("per_image")]
        if known and self.as_scored:
            return known[0]["name"], known[0]["per_image"]
        scores = score_masks(
            kind.seeds / variant, self.truth_root, self.ids, self.classes, evaluated_classes=self.evaluated,
            boundary=False, workers=self.workers, partial=self.folder / ".ranking.npz",
        )  # fmt: skip
        return f"{kind.name} {variant}".strip(), scores.per_image


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
    """The conditions of a run; what nobody has written down is not stated."""
    if not run:
        return "no run.json: how these results came about is not stated"
    listed, weights = run.get("data_list") or {}, run.get("initial_weights")
    extra = run.get("extra_supervision")
    extra = NOT_STATED if extra is None else ", ".join(extra) or "none beyond tags"
    start = "none (random start)" if "initial_weights" in run else NOT_STATED
    seed = NOT_STATED if run.get("seed") is None else run["seed"]
    parts = [
        f"extra supervision: {extra}",
        f"initial weights: {Path(weights['path']).name if weights else start}",
        f"seed: {seed}",
    ]
    if listed:
        images = run.get("images") or listed.get("ids")
        parts.insert(0, f"trained on {images or 'the'} images of {Path(listed['path']).name}")
    return " · ".join(parts)


def _curves(sources) -> str:
    kinds = [kind for kind in sources.kinds if kind.maps is not None]
    if not kinds or sources.truth_root is None or not sources.ids:
        return ""
    series, marks, lines, shares = {}, [], [], True
    for kind in kinds:
        threshold, of_maximum = threshold_of_policy(sources.threshold_policy, kind.name)
        curve = threshold_curve(
            kind.maps, sources.truth_root, sources.ids, sorted({*_CURVE_THRESHOLDS, threshold}),
            classes=sources.classes, evaluated_classes=sources.evaluated, normalize=of_maximum, workers=sources.workers,
            partial=sources.folder / f".curve-{kind.name}.npz",
        )  # fmt: skip
        shares = shares and of_maximum
        levels, miou = curve.thresholds.tolist(), (100 * curve.miou).tolist()
        series[kind.name] = levels, miou
        best, fixed = curve.best, curve.position(threshold)
        for place, text in ((fixed, "fixed threshold"), (best, "best threshold, chosen with the truth")):
            marks.append((levels[place], miou[place], f"{kind.name}: {text}, {miou[place]:.2f} %"))
        lines.append([kind.name, f"{threshold:g}", miou[fixed], f"{levels[best]:g}", miou[best]])
    chart = charts.line_chart(
        "mIoU without CRF", series, "share of a map's maximum" if shares else "score", "mIoU in %", marks
    )
    header = [
        "score maps",
        "fixed threshold",
        "mIoU %",
        "best threshold",
        "mIoU % there, chosen with the truth",
    ]
    return f'<div class="charts">{chart}</div>{charts.table(header, lines)}'


def _gallery(sources, entries, size: int) -> str:
    if not sources.ids or size < 1:
        return ""
    ranked_by, per_image = sources.ranking(entries)
    chosen = choose(per_image, sources.ids, size)
    side = 224 if len(chosen) <= 100 else 160 if len(chosen) <= 250 else 128
    names = ("background", *sources.classes)
    thresholds = _thresholds(sources) if len(chosen) <= _MOST_REDRAWN else {}
    make = Gallery(
        sources.kinds, sources.image_root, sources.truth_root, names, side, sources.max_side, thresholds
    )
    chunks = [chosen[start : start + 8] for start in range(0, len(chosen), 8)]
    figures = [figure for chunk in map_on_cores(make, chunks, sources.workers) for figure in chunk]
    ranks = [rank for rank in RANKS if any(entry[1] == rank for entry in chosen)]
    note = (
        f"Ranked by the mIoU of {ranked_by!r} in the image alone." if per_image else "Not ranked: no truth."
    )
    legend = mask_legend(names) + _sliders(thresholds, figures)
    return f'<p>{escape(note)}</p>{legend}{_filters(ranks, names)}<div id="shots">{"".join(figures)}</div>'


def _thresholds(sources) -> dict:
    """The run's own background thresholds, by kind of score maps, of the kinds that have one."""
    kinds = [kind.name for kind in sources.kinds if kind.maps is not None]
    found = {kind: fixed_threshold(sources.threshold_policy, kind) for kind in kinds}
    return {kind: own for kind, own in found.items() if own is not None}


def _sliders(thresholds, figures) -> str:
    """A slider for every kind of seeds that can be redrawn."""
    found = [
        slider(k, own)
        for k, own in thresholds.items()
        if any(f' data-kind="{escape(k)}"' in f for f in figures)
    ]
    if not found:
        return ""
    note = (
        "The slider redraws the seeds before CRF. To make the masks so, run the same command again with "
        "<code>--resume</code> and what stands beside the slider."
    )
    return f"<p>{note}</p>{''.join(found)}"


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
