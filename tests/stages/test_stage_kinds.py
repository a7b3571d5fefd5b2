"""Stages under the shared tests, and broken stages that these must catch."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest
from runs import make_data, recipe_of
from stage_conformance import StageConformance, data_set, given_maps

from icd.compat import mx
from icd.engine.parameters import save_weights
from icd.errors import InputError
from icd.files import ScoreMaps, mask_path, read_mask, score_maps_path, write_mask, write_score_maps
from icd.methods import METHODS, make_recipe
from icd.refine.seeds import CAM_RULE
from icd.stages.base import Files, GivenMaps, Job, Stage, ids_without_file
from icd.stages.chain import Changes, build_chain, chain_names
from icd.stages.localize import Localize
from icd.stages.seeds import Seeds
from icd.stages.superpixels import Superpixels
from icd.stages.train import Train
from icd.stages.walk import WalkToBoundaries


class TestSuperpixels(StageConformance):
    def build(self, job, out):
        return Superpixels("superpixels", job, out / "superpixels")

    def changed(self, stage):
        return dataclasses.replace(stage, k=40.0), "k = 40"

    def test_files_without_a_record_are_no_ones(self, tmp_path):
        """Here they are the user's, such as the authors' superpixels: kept, and completed."""
        stage = self.stage(tmp_path)
        stage.run()
        (stage.folder / "stage.json").unlink()
        mask_path(stage.folder, "picture2").unlink()
        again = self.stage(tmp_path)
        again.refuse_conflict()
        again.run()
        assert again.left() == []


class TestWalkToBoundaries(StageConformance):
    def build(self, job, out):
        return WalkToBoundaries(
            "walk", job, out / "walk", given_maps(job, CAM_RULE), steps=16, boundaries=boundary_maps(job)
        )

    def changed(self, stage):
        return dataclasses.replace(stage, beta=5.0), "beta = 5"

    def test_maps_stop_at_the_boundary(self, tmp_path):
        """A wall through the picture: what lies beyond stays background."""
        stage, scores = self.stage(tmp_path), np.zeros((1, 72, 80), np.float32)
        scores[0, :, :20] = 1
        maps = ScoreMaps(np.array([1], np.int16), scores, (72, 80), (72, 80, 72, 80))
        write_score_maps(score_maps_path(stage.source.products()["cam"], "picture0"), maps)
        wall = np.zeros((18, 20), np.float32)
        wall[:, 10] = 1
        np.save(stage.boundaries / "picture0.npy", wall)
        stage.run()
        mask = read_mask(mask_path(stage.folder / "masks", "picture0"))
        assert (mask[:, :32] == 1).all() and (mask[:, 48:] == 0).all()

    @pytest.mark.parametrize(
        ("boundary", "message"),
        [
            (np.full((18, 20), 2.0), "numbers outside"),
            (np.full((18, 20), np.nan), "numbers outside"),
            (np.zeros((5, 18, 20)), "shape"),
            (np.zeros((17, 20)), "picture0.npy: expected every 4th"),
            (np.array(["a"]), "ndarray"),
        ],
    )
    def test_what_is_no_boundary_map(self, tmp_path, boundary, message):
        stage = self.stage(tmp_path)
        np.save(stage.boundaries / "picture0.npy", boundary)
        with pytest.raises(InputError, match=message):
            stage.run()

    def test_a_missing_boundary_map_is_found_before_the_work(self, tmp_path):
        stage = self.stage(tmp_path)
        (stage.boundaries / "picture1.npy").unlink()
        with pytest.raises(InputError, match="1 missing, such as picture1"):
            stage.check()


def boundary_maps(job):
    """Boundary maps of every image: half arrays on IRN's grid, half gray pictures of every pixel."""
    random, folder = np.random.RandomState(4), job.data.images.parent / "boundaries"
    folder.mkdir(exist_ok=True)
    for number, image_id in enumerate(job.data.ids):
        if number < 2:
            np.save(folder / f"{image_id}.npy", np.float32(random.rand(18, 20)))
        else:
            cv2.imwrite(str(mask_path(folder, image_id)), np.uint8(random.randint(0, 256, (72, 80))))
    return folder


class TestSeeds(StageConformance):
    def build(self, job, out):
        return Seeds("masks", job, out / "results", given_maps(job, CAM_RULE), ("nocrf", "crf", "sal"))

    def changed(self, stage):
        return dataclasses.replace(stage, threshold=0.5), "threshold = 0.5"

    def test_a_variant_may_be_added(self, tmp_path):
        stage = dataclasses.replace(self.stage(tmp_path), variants=("nocrf",))
        stage.run()
        more = self.stage(tmp_path)
        more.refuse_conflict()
        more.run()
        assert more.left() == []

    def test_other_saliency_is_refused(self, tmp_path):
        stage = self.stage(tmp_path)
        stage.run()
        write_mask(mask_path(stage.job.data.saliency, "picture0"), np.zeros((72, 80), np.uint8))
        with pytest.raises(InputError, match="picture0"):
            self.stage(tmp_path).refuse_conflict()


class TestLocalize(StageConformance):
    def build(self, job, out):
        recipe = make_recipe("cam", {"image_size": 65, "batch_size": 2, "num_epoch": 1})
        train = Train("train", job, out.parent / "trained", "cam", recipe, "small", "small_cam")
        if train.left():
            dataclasses.replace(train, job=dataclasses.replace(job, shard=(1, 1))).run()
        return Localize("maps", job, out / "results", train)

    def changed(self, stage):
        return dataclasses.replace(stage, infer_size=97), "presentation"


def test_tags_count_for_what_is_localized(tmp_path):
    stage = TestLocalize().stage(tmp_path)
    stage.run()
    tags = stage.job.data.tags / "picture0.xml"
    tags.write_text((stage.job.data.tags / "picture1.xml").read_text())
    with pytest.raises(InputError, match="other photographs, tags or planes.*picture0"):
        TestLocalize().stage(tmp_path).refuse_conflict()


def test_somebody_elses_files_take_a_stages_place(tmp_path):
    stage = TestLocalize().stage(tmp_path)
    given = given_maps(stage.job, CAM_RULE)
    files = Files("maps", stage.job, given.folder, place=stage)
    files.check()
    files.run()
    seeds = Seeds("masks", stage.job, tmp_path / "seeds", files, ("nocrf",))
    seeds.run()
    own = dataclasses.replace(seeds, source=given, folder=tmp_path / "own")
    own.run()
    for image_id in stage.job.data.ids:
        one, other = (read_mask(mask_path(s.products()["cam/nocrf"], image_id)) for s in (seeds, own))
        np.testing.assert_array_equal(one, other)
    noted = seeds.facts("cam/nocrf")["maps"]
    assert noted["foreign"] == str(given.folder.resolve())
    given_maps(stage.job, CAM_RULE, scale=3.0)
    with pytest.raises(InputError, match="maps.files"):
        seeds.refuse_conflict()
    (given.folder / "picture1.npz").unlink()
    with pytest.raises(InputError, match="picture1"):
        files.check()


def test_every_method_names_rules_and_planes_that_there_are():
    from icd.data.planes import PLANES

    for kind in METHODS.values():
        assert set(kind.needs) <= set(PLANES)
        for rule in kind.score_maps.values():
            assert rule.companion is None or rule.companion in kind.score_maps


@dataclasses.dataclass(frozen=True)
class Paint(Stage):
    """A stage that paints masks in one colour; the base of the broken ones."""

    kind = "paint"
    colour: int = 1

    def facts(self, label=""):
        return {"colour": self.colour}

    def left(self):
        return ids_without_file(self.share(), [self.folder], ".png")

    def work(self, ids):
        for image_id in ids:
            write_mask(mask_path(self.folder, image_id), np.full((4, 4), self.colour, np.uint8))


class ForgetsItsSettings(Paint):
    """Does not say what its files depend on."""

    def facts(self, label=""):
        return {}


class DoesNotLookAtImages(Paint):
    """Takes files for its own whose photographs have changed."""

    def fingerprints(self, noted, label=""):
        return dict.fromkeys(super().fingerprints(noted, label), "the same")


class AlwaysStartsAnew(Paint):
    """Makes everything again."""

    def left(self):
        return self.share()


class IgnoresShards(Paint):
    """Does all the work in every process."""

    def share(self):
        return self.ids()


class HasMoods(Paint):
    """Makes other files each time."""

    def work(self, ids):
        for image_id in ids:
            write_mask(mask_path(self.folder, image_id), np.random.randint(0, 9, (4, 4)).astype(np.uint8))


class DoesNotLock(Paint):
    """Works on a folder that is in use."""

    def run(self):
        from icd.stages import record

        record.claim(self.folder, self.name, self.kind, self.facts(), self.fingerprints({}), ())
        self.work(self.left())


class PaintConformance(StageConformance):
    """The shared tests for one of these."""

    __test__ = False
    painter = Paint

    def build(self, job, out):
        return self.painter("paint", job, out / "paint")

    def changed(self, stage):
        return dataclasses.replace(stage, colour=2), "colour = 2"


class TestPaint(PaintConformance):
    __test__ = True


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (ForgetsItsSettings, "test_another_setting_is_refused_by_name"),
        (DoesNotLookAtImages, "test_other_photographs_of_the_same_ids_are_refused"),
        (AlwaysStartsAnew, "test_it_makes_only_what_is_missing"),
        (IgnoresShards, "test_shards_make_the_same_files"),
        (HasMoods, "test_two_copies_are_equal"),
        (DoesNotLock, "test_a_folder_in_use_is_refused"),
    ],
)
def test_the_shared_tests_catch_broken_stages(broken, test, tmp_path):
    suite = PaintConformance()
    suite.painter = broken
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(suite, test)(tmp_path)


def test_a_training_is_refused_for_other_tags_seeds_and_recipes(tmp_path):
    data = data_set(make_data(tmp_path / "data"))
    job = Job(data, tmp_path / "out", gpus="", workers=0)
    recipe = make_recipe("cam", {"image_size": 65, "batch_size": 2, "num_epoch": 1})
    train = Train("train", job, job.out, "cam", recipe, "small", "small_cam")
    train.run()
    with pytest.raises(InputError, match="--resume"):
        train.refuse_conflict()
    job = dataclasses.replace(job, resume=True)
    train = dataclasses.replace(train, job=job)
    train.refuse_conflict()
    longer = dataclasses.replace(recipe, num_epoch=2)
    cases = [
        (dataclasses.replace(train, job=dataclasses.replace(job, seed=1)), "seed = 1"),
        (dataclasses.replace(train, recipe=dataclasses.replace(recipe, learning_rate=0.5)), "learning_rate"),
        (dataclasses.replace(train, recipe=longer), "polynomial of the length"),
    ]
    for other, word in cases:
        with pytest.raises(InputError, match=word):
            other.refuse_conflict()
    (data.tags / "picture0.xml").write_text((data.tags / "picture1.xml").read_text())
    with pytest.raises(InputError, match="picture0"):
        dataclasses.replace(train, job=Job(data, job.out, gpus="", resume=True)).refuse_conflict()


def test_a_trained_network_is_loaded_with_fused_layers(tmp_path):
    job = Job(data_set(make_data(tmp_path / "data", count=1)), tmp_path / "out", gpus="", workers=0)
    path = tmp_path / "given.params"
    train = Train(
        "train", job, job.out, "cam", make_recipe("cam", {}), "mobilenet_v2", "m", weights_given=path
    )
    save_weights(train.build(), path)
    trainable = train.load()
    trainable.localize(mx.nd.zeros((1, 3, 65, 65)))
    *_, graph = trainable.network._cached_graph
    operators = [node["op"] for node in json.loads(graph.tojson())["nodes"]]
    assert "_sg_mkldnn_conv" in operators and not {"Convolution", "BatchNorm", "clip"} & set(operators)


def test_a_longer_training_goes_on_where_its_rates_allow(tmp_path):
    data = data_set(make_data(tmp_path / "data"))
    job = Job(data, tmp_path / "out", gpus="", workers=0)
    recipe = make_recipe("cam", {"image_size": 65, "batch_size": 2, "num_epoch": 1, "horizon": 9})
    train = Train("train", job, job.out, "cam", recipe, "small", "small_cam")
    train.run()
    longer = dataclasses.replace(
        train, recipe=dataclasses.replace(recipe, num_epoch=2), job=dataclasses.replace(job, resume=True)
    )
    longer.refuse_conflict()
    longer.run()
    whole = dataclasses.replace(longer, folder=tmp_path / "whole")
    whole.run()
    assert longer.weights.read_bytes() == whole.weights.read_bytes()
    maps = Localize("maps", job, tmp_path / "results", train)
    maps.run()
    with pytest.raises(InputError, match="weights.*--redo maps"):
        dataclasses.replace(maps, source=longer).refuse_conflict()
    assert recipe_of(2).horizon == 0 and GivenMaps.kind == "maps"


def test_with_pretrained_weights_no_other_training_is_waited_for(tmp_path):
    job = Job(data_set(make_data(tmp_path / "data", 2)), tmp_path / "out", gpus="")
    recipe = make_recipe("cam", {"num_epoch": 1}, "embedded")
    first = Train("train", job, tmp_path / "out", "cam", recipe, "small", "small_cam")
    second = Train("again", job, tmp_path / "again", "cam", recipe, "small", "again_cam", start=first)
    assert second.sources() == {"start": first}
    assert dataclasses.replace(second, pretrained=tmp_path / "weights.params").sources() == {}


@pytest.mark.parametrize("chain", chain_names())
def test_a_stage_needs_no_image_that_the_one_before_does_not_make(tmp_path, chain):
    """Also where only some of the photographs get masks: networks learn from the masks that there are."""
    folder = make_data(tmp_path / "data")
    some, val = (tmp_path / name for name in ("some.txt", "val.txt"))
    some.write_text("picture1\npicture4\n")
    val.write_text("picture0\n")
    data = data_set(folder, infer_list=some, val_list=val, masks=folder / "truth")
    job = Job(data, tmp_path / "out", gpus="", workers=0)
    for stage in build_chain(chain, job, Changes(backbone="small", recipe="embedded")):
        for source in stage.sources().values():
            assert isinstance(source, Train) or set(stage.ids()) <= set(source.ids()), (
                f"{stage.name} of {source.name}"
            )
