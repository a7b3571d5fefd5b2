"""Stages on a Dask cluster: the same files as from one process, also when a worker is killed; what is refused at the start."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from runs import command, make_data, weights_of
from stage_conformance import contents, data_set, given_maps

from icd.cli.main import main
from icd.engine.parameters import save_weights
from icd.errors import InputError
from icd.files import mask_path, read_json, write_mask
from icd.methods import make_recipe
from icd.recipe import changed_recipe
from icd.refine.affinitynet import AffinityNet
from icd.refine.seeds import CAM_RULE
from icd.segment import segmentation_recipe
from icd.stages import cluster as clusters
from icd.stages.base import Job, Stage, ids_without_file
from icd.stages.cluster import Cluster, opened
from icd.stages.crf import Crf
from icd.stages.predict import Predict
from icd.stages.score import Score
from icd.stages.train import Train
from icd.stages.walk import Walk

IMAGES = 8


def job_of(folder, out, address=None) -> Job:
    """A job on the tiny data set."""
    return Job(data_set(folder / "data"), folder / out, gpus="", workers=0, cluster_address=address)


def trained(job, name, backbone, recipe) -> Train:
    """A training with weights that nobody trained."""
    path = job.data.images.parent / f"{name}.params"
    train = Train(name, job, job.out, name, recipe, backbone, name, weights_given=path)
    if not path.is_file():
        save_weights(train.build(), path)
    return train


def stages_of(job) -> list:
    """One of each kind that is not in test_stage_kinds.py."""
    maps = given_maps(job, CAM_RULE)
    affinity = trained(job, "affinitynet", "small", changed_recipe("affinitynet", AffinityNet.recipes))
    network = trained(job, "largefov", "small", segmentation_recipe("largefov", {}, "embedded"))
    predict = Predict("val", job, job.out / "val", network, "infer", scales=(0.5, 1.0), keep_logits=True)
    return [
        Crf("crf", job, job.out / "crf", maps, makes="masks"),
        Walk("walk", job, job.out / "walk", maps, affinity, steps=4),
        predict,
        Score("score", job, job.out, predict),
    ]


def test_every_kind_makes_the_same_files(tmp_path, scheduler, capsys):
    make_data(tmp_path / "data", IMAGES)
    made = []
    for out, address in (("alone", None), ("cluster", scheduler)):
        job = job_of(tmp_path, out, address)
        stages = stages_of(job)
        for stage in stages:
            stage.run()
        job.close()
        files = [contents(stage) for stage in stages]
        assert all(len(of_stage) >= IMAGES for of_stage in files[:-1])
        made.append((files, read_json(job.out / "scores.json")))
        assert not list(job.out.rglob(".shared-*"))
    assert made[0] == made[1]
    said = capsys.readouterr().out
    for name in ("crf", "walk", "val"):
        assert f"{name}: {IMAGES} images in " in said


@dataclass(frozen=True)
class Counted(Stage):
    """A stage that notes which process has loaded its network, and which has made a file; one image kills its process once."""

    kind = "counted"
    deadly: bool = False

    @cached_property
    def network(self):
        """What is loaded."""
        (self.folder / f"loaded-{os.getpid()}-{len(list(self.folder.glob('loaded-*')))}").touch()
        return self

    def facts(self, label=""):
        return {}

    def left(self):
        return ids_without_file(self.share(), [self.folder], ".png")

    def work(self, ids):
        assert self.network is self
        for image_id in ids:
            once = self.folder / "killed"
            if self.deadly and image_id == "picture3" and not once.exists():
                once.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            write_mask(mask_path(self.folder, image_id), np.full((4, 4), 1, np.uint8))


def test_networks_are_loaded_once_a_worker(tmp_path, scheduler):
    make_data(tmp_path / "data", 40)
    job = job_of(tmp_path, "out", scheduler)
    stage = Counted("counted", job, job.out)
    stage.run()
    job.close()
    loaded = [path.name.split("-")[1] for path in stage.folder.glob("loaded-*")]
    assert stage.left() == [] and 1 <= len(loaded) == len(set(loaded)) <= 2


def test_a_killed_worker_loses_nothing(tmp_path, scheduler):
    make_data(tmp_path / "data", 40)
    job = job_of(tmp_path, "out", scheduler)
    stage = Counted("counted", job, job.out, deadly=True)
    stage.run()
    job.close()
    assert stage.left() == [] and (stage.folder / "killed").exists()


def fail(item):
    """Complain about one item."""
    if item == 5:
        raise InputError("file 5", "something", "nothing")
    return item * item


def test_results_come_in_order_and_errors_in_their_place(tmp_path, scheduler):
    with opened(scheduler, 2, tmp_path) as cluster:
        pool, found = cluster.pool(fail, group=2), []
        with pytest.raises(InputError, match="file 5: expected something"):
            for value in pool.map(range(10)):
                found.append(value)
        assert found == [0, 1, 4, 9]
        pool.close()
        pool = cluster.pool(abs)
        assert list(pool.map(iter(range(-100, 0)))) == list(range(100, 0, -1))
        pool.close()
    assert not list(tmp_path.iterdir())


def test_images_that_kill_every_worker_are_named(tmp_path, monkeypatch):
    """On a cluster of one worker that is started for it, which may die once."""
    pytest.importorskip("distributed")
    monkeypatch.setattr(clusters, "ATTEMPTS", 1)
    with opened("local", 1, tmp_path) as cluster:
        assert cluster.threads == 1
        pool = cluster.pool(signal.raise_signal)  # and nothing of this file, which takes long to import
        with pytest.raises(InputError, match="ended 2 times over.*9"):
            list(pool.map([int(signal.SIGKILL)]))
        pool.close()


def test_a_folder_that_a_worker_does_not_see_is_named(tmp_path, scheduler):
    with pytest.raises(InputError, match="worker tcp://.* on host .*nowhere"):
        Cluster(scheduler, 2, tmp_path, [tmp_path / "nowhere"])


def test_another_version_is_named(tmp_path, scheduler, monkeypatch):
    monkeypatch.setattr("icd.__version__", "99")
    with pytest.raises(InputError, match="expected icd 99"):
        Cluster(scheduler, 2, tmp_path)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense"])
def test_nobody_there_is_said(tmp_path, address, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(clusters, "ARRIVAL", 1)
    with pytest.raises(InputError, match=f"--cluster {address}"):
        Cluster(address, 2, tmp_path)


def test_missing_dask_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="pip install"):
        Cluster("local", 2, tmp_path)


def test_whole_run_is_the_same(tmp_path, scheduler, monkeypatch, capsys):
    """Superpixels, check, localization, seeds with CRF, scores, by the command line."""
    make_data(tmp_path / "data", 4)
    monkeypatch.chdir(tmp_path)
    for out, more in (("alone", []), ("cluster", ["--cluster", scheduler])):
        capsys.readouterr()
        words = command("data", out, "--num-epoch", "1", "--superpixels", f"sp_{out}", *more)
        assert main(["run", "icd", *words[2:]]) == 0
    said = capsys.readouterr().out
    for kind in ("superpixels", "maps", "masks"):
        assert f"{kind}: 4 images in " in said
    one, other = (
        {p.relative_to(tmp_path / out / "results"): p.read_bytes()
         for p in sorted((tmp_path / out / "results").rglob("*")) if p.suffix in (".png", ".npz")}
        for out in ("alone", "cluster")
    )  # fmt: skip
    assert len(one) == 24 and one == other
    assert (
        weights_of(tmp_path / "alone", epochs=1).keys() == weights_of(tmp_path / "cluster", epochs=1).keys()
    )
    scores = [read_json(tmp_path / out / "scores.json") for out in ("alone", "cluster")]
    assert scores[0] == scores[1]


def test_other_commands_take_the_flag(tmp_path, scheduler, monkeypatch, capsys):
    """Superpixels, seeds and scores, each alone."""
    monkeypatch.chdir(make_data(tmp_path / "data", IMAGES))
    job = job_of(tmp_path, "out")
    given_maps(job, CAM_RULE)
    common = ["--list", "list.txt", "--images", "JPEGImages"]
    seeds = ["seeds", "--rule", "cam", "--maps", "given", "--classes", "classes.txt", *common]
    calls = (
        ["superpixels", "raw", *common, "--out", "OUT/superpixels"],
        [*seeds, "--out", "OUT"],
        [
            "evaluate",
            "OUT/crf",
            "--truth",
            "truth",
            "--list",
            "list.txt",
            "--classes",
            "classes.txt",
            "--json",
            "OUT.json",
        ],
    )
    for out, more in (("alone", ["--workers", "1"]), ("spread", ["--cluster", scheduler])):
        for call in calls:
            assert main([*(word.replace("OUT", out) for word in call), *more]) == 0
    files = [
        {str(p.relative_to(out)): p.read_bytes() for p in sorted(Path(out).rglob("*.png"))}
        for out in ("alone", "spread")
    ]
    assert len(files[0]) == 3 * IMAGES and files[0] == files[1]
    scores = [{**read_json(f"{out}.json"), "about": None} for out in ("alone", "spread")]
    assert scores[0] == scores[1]
    assert f"superpixels: {IMAGES} images in " in capsys.readouterr().out
    assert not list(Path().glob(".shared-*"))


def test_data_are_checked_by_the_workers(tmp_path, scheduler, monkeypatch, capsys):
    """The same words as from one process, for the photographs, the tags and the masks."""
    monkeypatch.chdir(make_data(tmp_path / "data", 4))
    Path("JPEGImages/picture1.jpg").write_bytes(b"no photograph")
    write_mask(mask_path("truth", "picture2"), np.full((1, 1), 9, np.uint8))
    call = ["data", "check", "--images", "JPEGImages", "--tags", "Annotations", "--truth", "truth",
            "--list", "list.txt", "--classes", "classes.txt"]  # fmt: skip
    submit, sent = Cluster.submit, []
    monkeypatch.setattr(
        Cluster, "submit", lambda self, carried, items: sent.extend(items) or submit(self, carried, items)
    )
    said = []
    for more in (["--workers", "0"], ["--cluster", scheduler]):
        assert sent == []
        assert main([*call, *more]) == 2
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "picture1.jpg" in said[0] and "picture2.png" in said[0]
    assert sent[:4] == [f"picture{k}" for k in range(4)] and len(sent) == 5  # and once all masks


def test_workers_get_nothing_that_is_open():
    """What a worker gets of a job and a stage is what it needs, and nothing that is open."""
    import pickle

    recipe = make_recipe("cam")
    job = Job(None, Path("out"), gpus="", workers=3, cluster_address="local")
    job.devices  # noqa: B018
    train = pickle.loads(pickle.dumps(Train("train", job, Path("out"), "cam", recipe, "small", "m")))
    assert train.recipe == recipe and train.job.workers == 0 and train.job.cluster is None
    assert "devices" not in vars(train.job) and train.job.world.size == 1
