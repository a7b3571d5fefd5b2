"""Recipes: the published hyper-parameters of everything that is trained, with their meanings and ranges.

In: a recipe of a paper and what a user changes. Out: a checked recipe. Works without MXNet.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import NamedTuple

from icd.errors import InputError

OPTIMIZERS = ("sgd", "torch_sgd", "torch_adam")
SCHEDULES = ("poly_by_epoch", "poly_by_step", "decay_by_epoch")


class Meaning(NamedTuple):
    """What a recipe entry means, and which values it may have."""

    text: str
    least: float = None
    most: float = None
    choices: tuple = None

    def check(self, name: str, value) -> None:
        """Raise `InputError` unless a value lies in the range."""
        values = value if isinstance(value, tuple) else (value,)
        numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        if not all(math.isfinite(number) for number in numbers):
            raise InputError(f"recipe entry {name}", "finite numbers", repr(value))
        if self.choices is not None and value not in self.choices:
            raise InputError(
                f"recipe entry {name}", "one of " + ", ".join(map(str, self.choices)), repr(value)
            )
        for bound, word, wrong in (
            (self.least, "or more", lambda n: n < self.least),
            (self.most, "or less", lambda n: n > self.most),
        ):
            if bound is not None and any(map(wrong, numbers)):
                raise InputError(f"recipe entry {name}", f"{bound:g} {word}", repr(value))


def entry(meaning: str, default=dataclasses.MISSING, *, least=None, most=None, choices=None):
    """A field of a recipe.

    Parameters
    ----------
    meaning : str
        For `--help`: what the entry does, without a full stop.
    default : object, optional
    least, most : float, optional
        Bounds of the value, or of every number of a tuple.
    choices : tuple, optional
        The only values.

    Returns
    -------
    dataclasses.Field
        A recipe that gives the entry another default needs not say its meaning again.
    """
    return dataclasses.field(default=default, metadata={"meaning": Meaning(meaning, least, most, choices)})


@dataclass(frozen=True)
class BaseRecipe:
    """What the engine reads of every recipe; a paper's recipe adds its own entries and sets the published values."""

    image_size: int = entry("side of the training crop in pixels", least=8, most=8192)
    batch_size: int = entry("images a step, over all devices", least=1)
    num_epoch: int = entry("passes over the list; 0: num_iterations counts", least=0)
    learning_rate: float = entry("at the start", least=0)
    weight_decay: float = entry("of weights, and of biases unless the paper spares them", least=0)
    num_iterations: int = entry("steps, where num_epoch is 0", 0, least=0)
    accumulation: int = entry("mini-batches of batch_size over which a step averages", 1, least=1)
    momentum: float = entry("of SGD", 0.9, least=0, most=1)
    nesterov: bool = entry("Nesterov's momentum", False)
    optimizer: str = entry("kind of optimizer", "torch_sgd", choices=OPTIMIZERS)
    schedule: str = entry("how the rate falls", "poly_by_step", choices=SCHEDULES)
    horizon: int = entry("steps (by epoch: epochs) until a polynomial rate is 0; 0: the length", 0, least=0)
    rate_every: int = entry("steps from one change of a polynomial rate to the next", 1, least=1)
    poly_power: float = entry("exponent of a polynomial rate", 0.9, least=0)
    decay_epochs: tuple = entry("epochs, from 1, with which the rate falls to a tenth", (), least=1)
    keep_last_batch: bool = entry("whether an epoch ends with the smaller batch of the images left", False)
    new_layer_multiplier: float = entry("learning rate of new layers against the backbone's", 10.0, least=0)
    backbone_multiplier: float = entry(
        "slows the backbone down against the rest; ours, 1 in all papers", 1.0, least=0
    )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            meaning_of(type(self), field.name).check(field.name, getattr(self, field.name))
        if not self.num_epoch and self.num_iterations < 1:
            raise InputError("recipe entry num_epoch", "1 or more, or num_iterations", "0")
        if self.nesterov and self.optimizer != "torch_sgd":
            raise InputError("recipe entry nesterov", "the optimizer torch_sgd", self.optimizer)


def meaning_of(recipe: type, name: str) -> Meaning:
    """The meaning of an entry, as the first recipe class that declared it says."""
    for kind in recipe.__mro__:
        field = vars(kind).get("__dataclass_fields__", {}).get(name)
        if field is not None and "meaning" in field.metadata:
            return field.metadata["meaning"]
    raise TypeError(f"{recipe.__name__}.{name} is not declared with icd.recipe.entry")


def changed_recipe(name: str, recipes: dict, changes: dict = None, published: str = None) -> BaseRecipe:
    """A published recipe with changes.

    Parameters
    ----------
    name : str
        Whose recipes they are, for messages.
    recipes : dict of BaseRecipe
        By name of the published run, the first being the default.
    changes : dict, optional
        Entries that differ.
    published : str, optional
        A key of `recipes`.

    Raises
    ------
    InputError
        There is no such recipe or entry, or the value has another type or lies outside its range.
    """
    published = published or next(iter(recipes))
    if published not in recipes:
        raise InputError(f"recipe of {name}", "one of " + ", ".join(recipes), repr(published))
    recipe = recipes[published]
    known = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    values = {}
    for key, value in (changes or {}).items():
        if key not in known:
            raise InputError(f"recipe of {name}", "one of " + ", ".join(known), repr(key))
        values[key] = _same_type(key, value, known[key])
    return dataclasses.replace(recipe, **values)


def _same_type(key: str, value, published):
    """The value with the type of the published one; lists become tuples, whole numbers real ones."""
    kinds = {float: (int, float), tuple: (list, tuple)}.get(type(published), type(published))
    wrong = isinstance(value, bool) and not isinstance(published, bool)
    if wrong or not isinstance(value, kinds):
        raise InputError(f"recipe entry {key}", f"a value like {published!r}", repr(value))
    return type(published)(value)
