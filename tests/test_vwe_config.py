"""VWE's own `configs/voc.yaml` as `--config`: what it sets, what it does not, what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from icd.cli.run import make_stages, parser_of
from icd.errors import InputError

# The keys of spec vwe 1.4 with the values of v1, the places ours.
CONFIG = """
exp: {backbone: resnet101, checkpoint_dir: checkpoint, tensorboard_dir: runs, cam_dir: cam, final_weights: resnet_cam_final.pth}
dataset: {root_dir: VOC2012, txt_dir: dataset/voc, n_classes: 20}
train:
  split: train_aug.txt
  batch_size: 4
  max_epochs: 5
  k_words: 128
  save_iters: 100
  opt: {learning_rate: 0.02, weight_decay: 1e-4, momentum: 0.9, power: 0.9}
val: {split: val.txt}
cam: {split: train.txt, scales: [1.0, 0.5], bkgscore: 0.13}
"""

PHOTOGRAPHS = (
    "--images",
    "photographs",
    "--tags",
    "tags",
    "--list",
    "list.txt",
)  # else the embedded set is drawn first


@pytest.fixture
def stages_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(chain, *flags, config=CONFIG):
        Path("voc.yaml").write_text(config)
        arguments = parser_of("icd run", "").parse_args(["--config", "voc.yaml", *map(str, flags)])
        arguments.chain = chain
        return {stage.name: stage for stage in make_stages(arguments)[0]}

    return make


@pytest.mark.parametrize("chain", ["vwe", "vwl_l", "vwl_m", "vwe_baseline"])
def test_what_the_file_says_is_done(stages_of, chain, capsys):
    stages = stages_of(chain)
    train, data = stages["train"], stages["train"].job.data
    recipe = train.recipe
    assert (train.backbone, recipe.batch_size, recipe.num_epoch) == ("resnet101", 4, 5)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.infer_scales) == (0.02, 1e-4, (1.0, 0.5))
    assert recipe.momentum == 1e-4  # the published programs do not use the file's either
    assert stages["masks"].threshold == 0.13
    assert (str(data.images), str(data.tags)) == ("VOC2012/JPEGImages", "VOC2012/Annotations")
    assert (str(data.list), str(data.infer_list)) == ("train_aug.txt", "train.txt")
    assert str(data.val_list) == "val.txt"
    said = capsys.readouterr().out
    assert "train.opt.momentum" in said and "exp.cam_dir" in said and "train.split" not in said
    assert ("train.k_words" in said) == (chain == "vwe_baseline")
    if chain != "vwe_baseline":
        assert recipe.words == 128


def test_flags_take_precedence(stages_of):
    stages = stages_of(
        "vwe", "--backbone", "resnet50", "--batch-size", 8, "--images", "photographs", "--set", "words=64"
    )
    train = stages["train"]
    assert (train.backbone, train.recipe.batch_size, train.recipe.words) == ("resnet50", 8, 64)
    assert str(train.job.data.images) == "photographs"


def test_the_command_line_is_later_than_a_file(stages_of):
    stages = stages_of(
        "vwe",
        *PHOTOGRAPHS,
        "--batch-size",
        8,
        config="train.batch_size: 2\nrefiner.batch_size: 3\ntrain.words: 32",
    )
    assert {stages[name].recipe.batch_size for name in ("train", "refiner")} == {8}
    stages = stages_of("vwe", *PHOTOGRAPHS, "--set", "train.batch_size=5", config="batch_size: 2")
    assert (stages["train"].recipe.batch_size, stages["refiner"].recipe.batch_size) == (5, 2)


def test_entries_as_for_set_are_still_understood(stages_of):
    stages = stages_of("vwe", *PHOTOGRAPHS, config="train.words: 32\nlearning_rate: 0.5")
    assert stages["train"].recipe.words == 32


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train: {batch_size: many}", "batch_size"),
        ("dataset: {n_classes: 7}", "--num-cls: expected 20"),
        ("train: {opt: {weight_decay: tiny}}", "weight_decay"),
    ],
)
def test_wrong_values_are_named(stages_of, line, message):
    config = f"dataset: {{root_dir: VOC2012}}\n{line}" if not line.startswith("dataset") else line
    with pytest.raises(InputError, match=message):
        stages_of("vwe", "--data", "voc", config=config)["train"].check()
