"""Chains: published pipelines as data. In: a chain's name or file, the job, what a user changes. Out: its stages in order."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from icd.errors import InputError
from icd.recipe import changed_recipe
from icd.stages.base import Files, Job, Stage
from icd.stages.confident import ConfidentSeeds
from icd.stages.crf import Crf
from icd.stages.given import GivenMasks
from icd.stages.localize import Localize
from icd.stages.predict import Predict
from icd.stages.score import Score
from icd.stages.seeds import Seeds
from icd.stages.superpixels import Superpixels
from icd.stages.train import Train, images_of_training
from icd.stages.walk import Walk

FOLDER = Path(__file__).parents[1] / "chains"
KINDS = {
    kind.kind: kind
    for kind in (Superpixels, Train, Localize, Seeds, ConfidentSeeds, Crf, Walk, GivenMasks, Predict, Score)
}
RECIPE = "--recipe"
_OWN = (
    "name",
    "job",
    "folder",
    "source",
    "recipe",
    "trainable",
    "weights_given",
)  # fields that are not settings


@dataclass(frozen=True)
class Changes:
    """What a user changes in a chain.

    Attributes
    ----------
    everywhere : dict
        Recipe entries for every training that has them, and settings for every stage that has them.
    stages : dict of dict
        The same for one stage, by its name; they take precedence.
    recipe : str
        Name of the published recipes, where a trainable has them.
    backbone : str
    pretrained : pathlib.Path
    taken : dict of pathlib.Path
        Somebody else's files in the place of a stage.
    """

    everywhere: dict = field(default_factory=dict)
    stages: dict = field(default_factory=dict)
    recipe: str = None
    backbone: str = None
    pretrained: Path = None
    taken: dict = field(default_factory=dict)


def chain_names() -> list:
    """The chains that this package has."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_chain(name) -> dict:
    """The lines of a chain, {stage: {kind: what, setting: value}}.

    Parameters
    ----------
    name : str or os.PathLike
        One of `chain_names`, or a YAML file.

    Raises
    ------
    InputError
        There is no such chain, or a line is no stage.
    """
    path = FOLDER / f"{name}.yaml" if str(name) in chain_names() else Path(name)
    try:
        lines = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("chain", ", ".join(chain_names()) + ", or a YAML file", repr(str(name))) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(path, "a chain in YAML", str(error).splitlines()[0]) from None
    if not isinstance(lines, dict) or not all(isinstance(line, dict) for line in lines.values()):
        raise InputError(path, "lines such as 'maps: {localize: train}'", "something else")
    for stage, line in lines.items():
        if next(iter(line), None) not in KINDS:
            raise InputError(
                path, f"one of {', '.join(KINDS)} first in stage {stage}", ", ".join(map(str, line))
            )
    return lines


def about(name) -> str:
    """What a chain is, from the comment at the head of its file."""
    path = FOLDER / f"{name}.yaml"
    return path.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ")


def build_chain(name, job: Job, changes: Changes) -> list:
    """The stages of a chain, in order.

    Raises
    ------
    InputError
        A change fits no stage, or a line names a stage that does not come before it.
    """
    lines, stages, used = read_chain(name), {}, {}
    for key, of_stage in (("--set", changes.stages), ("--take", changes.taken)):
        for stage in of_stage:
            if stage not in lines:
                raise InputError(key, "a stage: " + ", ".join(lines), stage)
    for stage_name, line in lines.items():
        wanted = line.get("if")  # what the data set must have for the stage to make sense
        if wanted is None or getattr(job.data, wanted) is not None:
            rest = {key: value for key, value in line.items() if key != "if"}
            stages[stage_name] = _build_stage(stage_name, rest, job, changes, stages, used)
    if changes.recipe and not used.pop(RECIPE, None):
        known = {key for stage in trainings(stages.values()) for key in stage.trained_class.recipes}
        raise InputError("--recipe", "one of " + ", ".join(sorted(known)), repr(changes.recipe))
    unused = [key for key in changes.everywhere if key not in used]
    if unused:
        raise InputError(
            "--set", f"an entry of a stage of {name} (`icd run {name} --help` lists them)", ", ".join(unused)
        )
    for key, where in used.items():
        if len(where) > 1 or len(trainings(stages.values())) > 1:
            print(f"{key} = {changes.everywhere[key]}: for {', '.join(where)}")
    return list(stages.values())


def trainings(stages) -> list:
    """Those of some stages that train."""
    return [stage for stage in stages if isinstance(stage, Train)]


def consumers(stage, stages) -> list:
    """The stages that read a stage."""
    return [other for other in stages if any(source is stage for source in other.sources().values())]


def _build_stage(name, line, job, changes, stages, used) -> Stage:
    kind = KINDS[next(iter(line))]
    what = line.pop(kind.kind)
    folder = _folder(kind, name, job, line.pop("folder", name))
    own = changes.stages.get(name, {})
    fields = {f.name for f in dataclasses.fields(kind)}
    values = {key: _value(kind, key, value, stages) for key, value in line.items()}
    if kind is Train:
        what = own.get("trainable", what)
        values = _train_values(name, what, values, own, job, changes, used)
    elif kind not in (Superpixels, GivenMasks):
        values["source"] = _stage_called(name, what, stages)
    if kind is Superpixels:
        values.update(_merging(values.get("backbone"), job, changes))
    for key, value in changes.everywhere.items():
        if key in fields - set(_OWN):
            values[key] = value
            used.setdefault(key, []).append(name)
    for key, value in own.items():
        if key in fields - set(_OWN):
            values[key] = _value(kind, key, value, stages)
        elif kind is not Train:
            raise InputError(f"--set {name}.{key}", "one of " + ", ".join(sorted(fields - set(_OWN))), key)
    _check_choices(kind, name, values)
    stage = kind(name, job, folder, **values)
    if name not in changes.taken:
        return stage
    if kind is Train:
        return dataclasses.replace(stage, weights_given=changes.taken[name])
    return Files(name, job, changes.taken[name], place=stage)


def _folder(kind, name, job, below) -> Path:
    if kind is Superpixels and job.data.superpixels is not None:
        return job.data.superpixels
    if kind is GivenMasks:
        if job.data.masks is None:
            raise InputError("--masks", "a folder of masks to train on", "none")
        return job.data.masks
    return job.out if below == "." else job.out / below


def _value(kind, key, value, stages):
    """A value of a chain's line with the type of its field; the name of an earlier stage becomes the stage."""
    declared = {f.name: f for f in dataclasses.fields(kind)}.get(key)
    if declared is None:
        return value
    if isinstance(declared.default, tuple) and isinstance(value, (list, str)):
        return tuple(value.split(",") if isinstance(value, str) else value)
    if not declared.metadata and isinstance(value, str):
        return _stage_called(key, value, stages)
    return value


def _stage_called(reader, name, stages) -> Stage:
    if name not in stages:
        raise InputError(
            f"stage {reader}", "an earlier stage to read: " + (", ".join(stages) or "none"), repr(name)
        )
    return stages[name]


def _train_values(name, trainable, values, own, job, changes, used) -> dict:
    from icd.engine.build import find_trainable
    from icd.weights.registry import pretrained_of

    kind = find_trainable(trainable)
    fields = {f.name for f in dataclasses.fields(Train)}
    backbone = (
        own.get("backbone")
        or changes.backbone
        or job.data.backbone
        or values.get("backbone")
        or kind.backbone
    )
    if kind.backbone is None:  # a network of GluonCV, which has its own
        backbone = None
    entries = {key: values.pop(key) for key in list(values) if key not in fields}
    for key, value in changes.everywhere.items():
        if key in {f.name for f in dataclasses.fields(next(iter(kind.recipes.values())))}:
            entries[key] = value
            used.setdefault(key, []).append(name)
    entries.update({key: value for key, value in own.items() if key not in fields})
    if changes.recipe in kind.recipes:
        used.setdefault(RECIPE, []).append(name)
    suitable = (changes.recipe, job.data.recipe, backbone, values.pop("recipe", None))
    published = own.get("recipe") or _suitable(kind.recipes, *suitable)
    recipe = _for_few(changed_recipe(trainable, kind.recipes, entries, published), entries, name, job, values)
    pretrained = own.get("pretrained") or changes.pretrained or pretrained_of(backbone)
    return {
        "model": f"{backbone}_{trainable}" if backbone else trainable.replace(":", "_"),
        **values,
        "trainable": trainable,
        "recipe": recipe,
        "backbone": backbone,
        "pretrained": None if pretrained is None else Path(pretrained),
    }


def _for_few(recipe, entries, name, job, sources):
    """The recipe with a smaller batch where a person's own photographs are fewer than a step takes, and nobody set it."""
    if job.data.list is not None or "batch_size" in entries or recipe.keep_last_batch:
        return recipe
    count = len(images_of_training(job, sources))
    most = max(1, count // recipe.accumulation)
    if recipe.batch_size <= most:
        return recipe
    print(f"{name}: --batch-size {most}, since there are only {count} photographs")
    return dataclasses.replace(recipe, batch_size=most)


def _suitable(recipes: dict, *names):
    """The first of some names that is a recipe; None where none is."""
    return next((name for name in names if name in recipes), None)


def _merging(backbone, job, changes) -> dict:
    """Whose features merge superpixels: those of the backbone that the run starts from, if it starts from weights."""
    from icd.weights.registry import pretrained_of

    backbone = changes.backbone or job.data.backbone or backbone
    return {"backbone": backbone, "pretrained": changes.pretrained or pretrained_of(backbone)}


def _check_choices(kind, name, values) -> None:
    for declared in dataclasses.fields(kind):
        choices = declared.metadata.get("choices")
        value = values.get(declared.name, declared.default)
        if choices and value is not None and value not in choices:
            raise InputError(f"{name}.{declared.name}", "one of " + ", ".join(choices), repr(value))
