"""What `icd run` and `icd plan` change in a chain. In: the flags, `--config`, `--set`. Out: `icd.stages.chain.Changes`."""

from __future__ import annotations

from pathlib import Path

import yaml

from icd.classes import evaluated_numbers
from icd.errors import InputError

RECIPE_FLAGS = ("image_size", "batch_size", "num_epoch", "learning_rate")
# Flags that are settings of the same name, for every stage that has them.
SETTING_FLAGS = (
    "infer_size",
    "infer_batch",
    "crf_preset",
    "crf_backend",
    "choose_epoch",
    "threshold",
    "num_save",
    "log_frequency",
)
MAIN_FLAGS = {"model": "train", "begin_epoch": "train", "map_type": "maps"}  # for the stage of this name


def config_entries(arguments) -> dict:
    """What `--config` says: entries as for --set; VWE's own file also stands for flags that are not given."""
    from icd.foreign import vwe_config

    if not arguments.config:
        return {}
    content = read_recipe_file(arguments.config)
    if arguments.chain not in vwe_config.CHAINS or not vwe_config.is_vwe_config(content):
        return content
    found = vwe_config.translate(content, trains_words=arguments.chain != "vwe_baseline")
    for flag, value in found.flags.items():
        if getattr(arguments, flag) is None:
            setattr(arguments, flag, value)
    if found.unused:
        print(f"{arguments.config}: not used here: {', '.join(found.unused)}")
    return found.entries


def changes_of(arguments, data, lines, entries):
    """What the flags change in the chain, the later ones winning: --config, --set, the flags of their own."""
    from icd.stages.chain import Changes

    given = dict(_set_entry(text) for text in arguments.set)
    flags = {name: getattr(arguments, name) for name in (*RECIPE_FLAGS, *SETTING_FLAGS)}
    given.update({name: value for name, value in flags.items() if value is not None})
    # What the command line says of all stages is later than what the file says of one.
    entries = {key: value for key, value in entries.items() if key.rpartition(".")[2] not in given}
    everywhere, stages = {}, {}
    for key, value in {**entries, **given}.items():
        stage, dot, entry = key.partition(".")
        if dot:
            stages.setdefault(stage, {})[entry] = value
        else:
            everywhere[stage] = value
    for name, stage in MAIN_FLAGS.items():
        if getattr(arguments, name) and stage in lines:
            stages.setdefault(stage, {})[name] = getattr(arguments, name)
    everywhere.update(_mask_settings(arguments, data, lines))
    if arguments.network and "segment" in lines:
        stages.setdefault("segment", {})["trainable"] = arguments.network
    taken = {stage: Path(path) for stage, path in (_pair("--take", text) for text in arguments.take)}
    return Changes(everywhere, stages, arguments.recipe, arguments.backbone, arguments.pretrained, taken)


def _set_entry(text: str) -> tuple:
    key, value = _pair("--set", text)
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError("--set", "KEY=VALUE with a value in YAML", repr(text)) from None


def _mask_settings(arguments, data, lines) -> dict:
    settings, kinds = {}, {key for line in lines.values() for key in line}
    saliency = arguments.use_sal or data.use_saliency
    if "seeds" in kinds and (arguments.no_crf or saliency):
        variants = ("nocrf", "crf", "sal")
        settings["variants"] = tuple(
            v for v in variants if (v != "crf" or not arguments.no_crf) and (v != "sal" or saliency)
        )
    if "score" in kinds and arguments.eval_classes:
        numbers = evaluated_numbers(arguments.eval_classes, data.classes, "--eval-classes")
        settings["eval_classes"] = tuple(sorted({0, *numbers}))
    return settings


def _pair(flag: str, text: str) -> tuple:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise InputError(flag, "KEY=VALUE", repr(text))
    return key.strip(), value


def read_recipe_file(path) -> dict:
    """Read a YAML mapping of entries as for --set."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(path, "a YAML file of recipe entries", "nothing there") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(path, "a YAML file of recipe entries", str(error).splitlines()[0]) from None
    if not isinstance(content, dict):
        raise InputError(path, "a mapping such as 'learning_rate: 0.001'", type(content).__name__)
    unnamed = [key for key in content if not isinstance(key, str)]
    if unnamed:
        raise InputError(path, "names of entries such as 'learning_rate: 0.001'", repr(unnamed[0]))
    return content
