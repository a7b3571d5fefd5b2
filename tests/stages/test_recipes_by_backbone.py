"""Which recipe a training starts from: MobileNetV2 is fine-tuned with its own numbers, not with those of VGG-16."""

from __future__ import annotations

import dataclasses

import pytest

from icd.data.catalogue import DataSet
from icd.stages.base import Job
from icd.stages.chain import Changes, build_chain, trainings


def recipes(tmp_path, chain, listed=True, **changes):
    """The recipe of every training of a chain on twenty photographs."""
    for name in ("images", "saliency"):
        (tmp_path / name).mkdir(exist_ok=True)
    ids = [f"p{number}" for number in range(20)]
    for image_id in ids:
        (tmp_path / "images" / f"{image_id}.jpg").touch()
    (tmp_path / "tags.csv").write_text("id,tags\n" + "".join(f"{image_id},x\n" for image_id in ids))
    (tmp_path / "list.txt").write_text("\n".join(ids) + "\n")
    listing = tmp_path / "list.txt" if listed else None
    data = DataSet(
        "folder", ("x",), tmp_path / "images", tmp_path / "tags.csv", listing, saliency=tmp_path / "saliency"
    )
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
