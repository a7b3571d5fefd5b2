"""Which recipe a training starts from: MobileNetV2 is fine-tuned with its own numbers, not with those of VGG-16."""

from __future__ import annotations

import argparse
import dataclasses

import pytest

from icd.cli.own_photographs import backbone_at_hand
from icd.cli.run import add_arguments, make_stages
from icd.data.catalogue import DataSet
from icd.engine.build import find_trainable
from icd.stages.base import Job
from icd.stages.chain import Changes, build_chain, read_chain, trainings


def recipes(tmp_path, chain, listed=True, masked=20, **changes):
    """The recipe of every training of a chain on twenty photographs, of which some get masks."""
    for name in ("images", "saliency"):
        (tmp_path / name).mkdir(exist_ok=True)
    ids = [f"p{number}" for number in range(20)]
    for image_id in ids:
        (tmp_path / "images" / f"{image_id}.jpg").touch()
    (tmp_path / "tags.csv").write_text("id,tags\n" + "".join(f"{image_id},x\n" for image_id in ids))
    (tmp_path / "list.txt").write_text("\n".join(ids) + "\n")
    (tmp_path / "masked.txt").write_text("\n".join(ids[:masked]) + "\n")
    listing = tmp_path / "list.txt" if listed else None
    data = DataSet(
        "folder", ("x",), tmp_path / "images", tmp_path / "tags.csv", listing, saliency=tmp_path / "saliency",
        infer_list=tmp_path / "masked.txt",
    )  # fmt: skip
    return [
        stage.recipe
        for stage in trainings(build_chain(chain, Job(data, tmp_path / "out"), Changes(**changes)))
    ]


@pytest.mark.parametrize("chain", ["cam", "icd", "eps", "drs"])
def test_mobilenet_v2_has_its_own_numbers(tmp_path, chain):
    for recipe in recipes(tmp_path, chain, backbone="mobilenet_v2"):
        assert (recipe.batch_size, recipe.backbone_multiplier) == (16, 0.4)
    if chain in ("cam", "icd"):
        (recipe,) = recipes(tmp_path, chain, backbone="mobilenet_v2")
        assert (recipe.image_size, recipe.learning_rate) == (257, 0.0005)
        (published,) = recipes(tmp_path, chain)
        assert (published.image_size, published.batch_size, published.learning_rate) == (321, 32, 0.001)


def test_the_batch_of_few_own_photographs_is_smaller_unless_somebody_set_it(tmp_path, capsys):
    (published,) = recipes(tmp_path, "cam")
    (few,) = recipes(tmp_path, "cam", listed=False)
    assert few == dataclasses.replace(published, batch_size=20)
    assert "train: --batch-size 20, since there are only 20 photographs" in capsys.readouterr().out
    (chosen,) = recipes(tmp_path, "cam", listed=False, everywhere={"batch_size": 64})
    assert chosen.batch_size == 64 and capsys.readouterr().out.count("since") == 0


def test_the_batch_of_a_refiner_counts_the_photographs_that_have_masks(tmp_path, capsys):
    train, refiner = recipes(tmp_path, "seam", listed=False, masked=5)
    assert (train.batch_size, refiner.batch_size) == (8, 5)
    assert "affinity: --batch-size 5, since there are only 5 photographs" in capsys.readouterr().out


def test_own_photographs_take_the_backbone_whose_weights_are_here(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = DataSet("folder", ("x",), tmp_path, tmp_path / "tags.csv", None)
    weights = tmp_path / "data" / "pretrained"
    weights.mkdir(parents=True)
    assert backbone_at_hand(read_chain("icd"), data) is None
    (weights / "mobilenet_v2.params").touch()
    assert backbone_at_hand(read_chain("icd"), data) == "mobilenet_v2"
    assert "--backbone mobilenet_v2: its weights are here, those of vgg16 are not" in capsys.readouterr().out
    assert backbone_at_hand(read_chain("seam"), data) == "mobilenet_v2"
    with monkeypatch.context() as without:  # where one of the trainings has no numbers for it
        without.delitem(find_trainable("affinitynet").recipes, "mobilenet_v2")
        assert backbone_at_hand(read_chain("seam"), data) is None
    (weights / "vgg16_20M.params").touch()
    assert backbone_at_hand(read_chain("icd"), data) is None


@pytest.mark.parametrize("flag", ["--threshold", "--cam-threshold"])
def test_a_threshold_found_by_eye_is_a_flag(tmp_path, flag):
    recipes(tmp_path, "cam")  # which makes the files
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    places = ["--images", tmp_path / "images", "--tags", tmp_path / "tags.csv", "--out", tmp_path / "out"]
    stages, _ = make_stages(parser.parse_args(["cam", *map(str, places), "--max-side", "512", flag, "0.45"]))
    (masks,) = (stage for stage in stages if stage.name == "masks")
    assert masks.threshold == 0.45 and masks.policy() == "cam: fixed 0.45 of the maximum"
    assert masks.job.data.max_side == 512 and masks.job.facts == {"max_side": 512}
