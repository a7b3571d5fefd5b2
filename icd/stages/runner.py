"""Runs and plans chains. In: stages in order, which of them to do. Out: their files; or a table of what is done and left.

All checks of all stages come before the first stage, so that bad input never costs finished work.
"""

from __future__ import annotations

from dataclasses import dataclass

from tqdm import tqdm

from icd.data.check import RunFolders, check_run
from icd.data.dataset import require_folder
from icd.data.tags import XmlTags
from icd.errors import InputError
from icd.evaluate.table import format_table
from icd.stages.base import Files
from icd.stages.chain import consumers
from icd.stages.estimates import seconds_left
from icd.stages.score import Score
from icd.stages.superpixels import Superpixels
from icd.stages.train import Train


@dataclass(frozen=True)
class Selection:
    """Which stages of a chain to do; names of stages.

    Attributes
    ----------
    until : str
        The last one.
    only : tuple of str
        These alone.
    redo : tuple of str
        These, and all that read them, are made anew.
    """

    until: str = None
    only: tuple = ()
    redo: tuple = ()

    def of(self, stages: list) -> list:
        """Those of the stages, in order; `InputError` for a name that is none."""
        names = [stage.name for stage in stages]
        for flag, wanted in (
            ("--until", (self.until,) if self.until else ()),
            ("--only", self.only),
            ("--redo", self.redo),
        ):
            for name in wanted:
                if name not in names:
                    raise InputError(flag, "a stage: " + ", ".join(names), name)
        if self.only:
            return [stage for stage in stages if stage.name in self.only]
        return stages[: names.index(self.until) + 1] if self.until else stages


def run_stages(stages: list, selection: Selection) -> list:
    """Check everything, then do what is left of the selected stages; returns the selected stages.

    Raises
    ------
    InputError
        Something that a stage reads is missing or does not fit; nothing has been done then.
    """
    selected, world = selection.of(stages), stages[0].job.world
    blind = world.blind(stages[0].job.out)
    if blind:
        found = f"one that processes {', '.join(map(str, blind))} do not see"
        remedy = "Give --out in a folder that all machines mount under the same name."
        raise InputError(stages[0].job.out, "a folder that all processes share", found, remedy)
    stages[0].job.cluster  # noqa: B018  (what is wrong with it is said before anything is done)
    if world.leads:
        for stage in _with_readers(selection.redo, stages):
            stage.remove()
    world.barrier()
    needed = needed_stages(stages, selected)
    if world.leads:
        check(stages, selected, needed)
    world.barrier()
    taken = {
        source.name for stage in needed for source in stage.sources().values() if isinstance(source, Files)
    }
    for stage in stages:
        if stage in needed or stage.name in taken:
            stage.run()
    return selected


def needed_stages(stages: list, selected: list) -> list:
    """Those of the selected stages whose files somebody asks for: the last ones, and what a stage with work left reads."""
    needed = []
    for stage in reversed(selected):
        readers = [other for other in consumers(stage, stages) if other in selected]
        makers = [reader for reader in readers if reader.products()]  # a score is not what a run is for
        if not makers or any(reader in needed and reader.left() for reader in readers):
            needed.append(stage)
    return needed[::-1]


def _with_readers(names, stages) -> list:
    """The named stages and all that read them, directly or not, the last first."""
    found = []
    for stage in stages:
        if stage.name in names or any(source in found for source in stage.sources().values()):
            found.append(stage)
    return [stage for stage in reversed(found) if not isinstance(stage, Files)]


def check(stages: list, selected: list, needed: list) -> None:
    """All checks of all stages, the quick ones first."""
    with_work = [stage for stage in needed if stage.left()]
    for stage in selected:
        if stage in with_work:
            stage.check()
            for source in stage.sources().values():
                if source.left() and source not in with_work:
                    remedy = (
                        f"Do stage {source.name} first, or take somebody's files: --take {source.name}=PATH."
                    )
                    raise InputError(
                        f"stage {stage.name}",
                        f"finished files of stage {source.name}",
                        "none, or not all",
                        remedy,
                    )
            if isinstance(stage, Train) and stage.job.shard != (1, 1):
                raise InputError(f"stage {stage.name}", "a finished training", f"none ({stage.weights} is not there)",
                                 f"Train first, without --shard: --until {stage.name}.")  # fmt: skip
    for source in {
        source.name: source for stage in with_work for source in stage.sources().values()
    }.values():
        if source.given:
            source.check()
    for stage in selected:
        stage.refuse_conflict()
    working = [stage for stage in with_work if not isinstance(stage, Score)]
    if working:
        _check_inputs(stages, working)


def _check_inputs(stages, working) -> None:
    """Read every photograph, tag and plane that will be read, once; raise the first problem, and how many more there are."""
    job = stages[0].job
    data = job.data
    ids = list(dict.fromkeys(image_id for stage in working for image_id in _read_by(stage)))
    needed = {"superpixel_root": _existing_superpixels(stages), "saliency_root": (), "truth_root": ()}
    for stage in stages:
        for field, wanted in stage.needs().items() if stage in working or isinstance(stage, Score) else ():
            needed[f"{field}_root"] = [*needed[f"{field}_root"], *wanted]
            require_given(data, field, stage)
    used = {name: wanted for name, wanted in needed.items() if wanted}
    tagged = [image_id for stage in working if stage.tagged for image_id in _read_by(stage)]
    roots = {"saliency_root": data.saliency, "truth_root": data.truth, "superpixel_root": data.superpixels}
    folders = RunFolders(
        data.images,
        job.tags,
        classes=data.classes,
        max_side=data.max_side,
        **{name: roots[name] for name in used},
    )
    checked = check_run(folders, ids, job.pool, {**used, "annotation_root": tagged})
    problems = [
        p
        for of_image in tqdm(checked, total=len(ids), unit="image", desc="check", disable=None)
        for p in of_image
    ]
    if problems:
        first, more = problems[0], len(problems) - 1
        remedy = first.remedy + (f" {more} more problems: `icd data check` names them." if more else "")
        raise InputError(first.where, first.expected, first.found, remedy.strip())
    if job.ignore_unknown_tags:
        print(_unknown_tags(job, tagged))


def _unknown_tags(job, ids) -> str:
    """How many tags of which unknown classes were left out, in words."""
    unknown = job.known_classes.unknown
    if isinstance(job.tags, XmlTags):  # which were read several times; a file is read once
        unknown.clear()
        for image_id in ids:
            job.tags.read(image_id)
    names = ", ".join(f"{name} ({count})" for name, count in unknown.most_common(5))
    total = sum(unknown.values())
    return f"{total} tag{'s' * (total != 1)} of {len(unknown)} unknown class{'es' * (len(unknown) != 1)} left out: {names}"


def _read_by(stage) -> list:
    return stage.ids() if isinstance(stage, Train) else stage.left()


def require_given(data, field: str, stage) -> None:
    """Raise `InputError` where a stage needs a folder of the data set that is not given or not there."""
    folder = getattr(data, field)
    if folder is None:
        raise InputError(
            f"stage {stage.name}", f"a folder of {field} maps", "none", f"Give it with --{field}."
        )
    require_folder(folder)


def _existing_superpixels(stages) -> list:
    """The ids of files that lie in the data set's own folder of superpixels already; the others are computed."""
    made = next((stage for stage in stages if isinstance(stage, Superpixels)), None)
    if made is None or made.job.data.superpixels is None:
        return []
    left = set(made.left())
    return [image_id for image_id in made.share() if image_id not in left]


def plan(stages: list, selection: Selection) -> str:
    """A table of the stages: what each reads and writes, what is done, and about how long the rest takes."""
    rows, total = [], 0.0
    for stage in selection.of(stages):
        done, left = _progress(stage)
        seconds = seconds_left(stage, left)
        total += seconds
        reads = ", ".join(source.name for source in stage.sources().values()) or "photographs"
        writes = ", ".join(map(str, stage.writes()))
        rows.append([stage.name, _what(stage), reads, writes, done, duration(seconds) if left else ""])
    table = format_table(["stage", "does", "reads", "writes", "done", "left, about"], rows)
    return f"{table}\n\nAbout {duration(total)} in all, on a CPU with two cores; measured rates where stages have run."


def _what(stage) -> str:
    name = getattr(stage, "trainable", None)
    return f"{stage.kind} {name}" if name and isinstance(stage, Train) else stage.kind


def _progress(stage) -> tuple:
    """How much is done, as text, and how many images are left, also where photographs or lists are not at hand."""
    if isinstance(stage, Score):
        return "anew each time", 0
    try:
        total, left = len(stage.ids()), len(stage.left())
    except InputError:
        expected = stage.job.data.expected
        return (f"0 of {expected}" if expected else "the list is not there"), expected
    return f"{total - left} of {total}", left


def duration(seconds: float) -> str:
    """A time in words: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
