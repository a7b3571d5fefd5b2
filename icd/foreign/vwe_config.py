"""`configs/voc.yaml` of VWE and VWL, as `--config` of `icd run vwe`, `vwl_l`, `vwl_m`, `vwe_baseline`.

In: the file's nested mapping. Out: the places and settings that it stands for here, and the keys that stand for nothing. The
table is spec vwe 1.4; keys that the published programs do not use are not used here either.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

CHAINS = ("vwe", "vwe_baseline", "vwl_l", "vwl_m")
# Key of the file: entry as for --set.
ENTRIES = {
    "train.batch_size": "train.batch_size",
    "train.max_epochs": "train.num_epoch",
    "train.k_words": "train.words",
    "train.opt.learning_rate": "train.learning_rate",
    "train.opt.weight_decay": "train.weight_decay",
    "cam.scales": "train.infer_scales",
    "cam.bkgscore": "masks.threshold",
}
# Key of the file: flag whose value it is, unless the flag is given.
FLAGS = {
    "exp.backbone": "backbone",
    "dataset.n_classes": "num_cls",
    "train.split": "list",
    "val.split": "val_list",
    "cam.split": "infer_list",
}
BELOW_ROOT = {"images": "JPEGImages", "tags": "Annotations"}
_PATHS = ("list", "val_list", "infer_list")


class Translation(NamedTuple):
    """What a file stands for: entries as for --set, flags by the name of their attribute, keys that stand for nothing."""

    entries: dict
    flags: dict
    unused: list


def is_vwe_config(content: dict) -> bool:
    """Whether a mapping is of VWE's form: sections, of which one is called as VWE's are."""
    return any(isinstance(content.get(name), dict) for name in ("exp", "dataset", "cam"))


def translate(content: dict, trains_words: bool) -> Translation:
    """Say a file of VWE in the words of this package.

    Parameters
    ----------
    content : dict
        The file, nested as published.
    trains_words : bool
        Whether the chain has a codebook; `train.k_words` is unused without.
    """
    entries, flags, unused = {}, {}, []
    for key, value in _flat(content):
        if key == "train.opt.weight_decay":
            value = _number(value)
        if key == "train.k_words" and not trains_words:
            unused.append(key)
        elif key in ENTRIES:
            entries[ENTRIES[key]] = value
        elif key == "dataset.root_dir":
            flags.update({flag: Path(str(value)) / folder for flag, folder in BELOW_ROOT.items()})
        elif key in FLAGS:
            flags[FLAGS[key]] = Path(str(value)) if FLAGS[key] in _PATHS else value
        else:
            unused.append(key)
    return Translation(entries, flags, unused)


def _flat(content, prefix=""):
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _number(value):
    """YAML 1.1 reads 1e-4 as a text; the published programs' reader does not."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return value
