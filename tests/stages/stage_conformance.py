"""What every stage that works image by image must do; a stage's test class inherits it and says how to build the stage."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from runs import CLASSES, make_data

from icd.data.catalogue import DataSet
from icd.data.images import image_path
from icd.errors import InputError
from icd.files import ScoreMaps, score_maps_path, write_score_maps
from icd.stages import record, times
from icd.stages.base import GivenMaps, Job

COUNT = 4


def data_set(folder, **places) -> DataSet:
    """The tiny data set of `runs.make_data` as the catalogue would have it."""
    return DataSet(
        "folder", CLASSES, folder / "JPEGImages", folder / "Annotations", folder / "list.txt",
        saliency=folder / "saliency", truth=folder / "truth", infer_size=81, **places,
    )  # fmt: skip


def given_maps(job, rule, name="given", scale=1.0):
    """Score maps of every image, as somebody's program might have made them."""
    random, folder = np.random.RandomState(3), job.data.images.parent / name
    for image_id in job.data.ids:
        classes = np.array(job.tags.read(image_id), np.int16)
        maps = np.float32(scale * random.rand(len(classes), 11, 11))
        write_score_maps(
            score_maps_path(folder, image_id), ScoreMaps(classes, maps, (72, 80), (81, 81, 72, 80))
        )
    return GivenMaps("maps", job, folder, {"cam": folder}, {"cam": rule})


def contents(stage) -> dict:
    """A digest of every file of a stage's products."""
    return {
        (label, path.name): hashlib.sha256(path.read_bytes()).hexdigest()
        for label, folder in stage.products().items()
        for path in sorted(folder.glob("*"))
        if path.name != record.FILE and not path.name.startswith(".")
    }


class StageConformance:
    """Inherit, write `build` and `changed`, and every test below runs for the stage."""

    def build(self, job: Job, out):
        """The stage, with all that it reads."""
        raise NotImplementedError

    def changed(self, stage):
        """The same stage with another setting, and a word that the refusal must name."""
        raise NotImplementedError

    def stage(self, tmp_path, out="out", data="data", **options):
        folder = tmp_path / data
        if not folder.is_dir():
            make_data(folder, COUNT)
        return self.build(
            Job(data_set(folder), tmp_path / out, gpus="", workers=0, **options), tmp_path / out
        )

    def test_it_makes_everything_and_says_so(self, tmp_path):
        stage = self.stage(tmp_path)
        assert stage.left() == stage.ids()
        stage.refuse_conflict()
        stage.run()
        assert stage.left() == []
        for folder in stage.products().values():
            noted = record.read_record(folder)
            assert noted["kind"] == stage.kind and set(noted["images"]) == set(stage.ids())
            assert noted["command"] and noted["software"]["icd"] and noted["time"]

    def test_it_makes_only_what_is_missing(self, tmp_path):
        stage = self.stage(tmp_path)
        stage.run()
        whole = contents(stage)
        times = {}
        for folder in stage.products().values():
            for path in folder.glob(f"{stage.ids()[1]}.*"):
                path.unlink()
            times.update({path: path.stat().st_mtime_ns for path in folder.glob(f"{stage.ids()[0]}.*")})
        again = self.stage(tmp_path)
        assert again.left() == [stage.ids()[1]]
        again.run()
        assert contents(again) == whole
        assert all(path.stat().st_mtime_ns == time for path, time in times.items())

    def test_shards_make_the_same_files(self, tmp_path):
        whole = self.stage(tmp_path)
        whole.run()
        for shard in ((1, 2), (2, 2)):
            part = self.stage(tmp_path, "shards", shard=shard)
            assert len(part.left()) == COUNT // 2
            part.run()
        assert contents(self.stage(tmp_path, "shards")) == contents(whole)

    def test_a_cluster_makes_the_same_files(self, tmp_path, scheduler):
        whole = self.stage(tmp_path)
        whole.run()
        spread = self.stage(tmp_path, "cluster", cluster_address=scheduler)
        spread.run()
        spread.job.close()
        assert spread.left() == [] and contents(spread) == contents(whole)

    def test_other_photographs_of_the_same_ids_are_refused(self, tmp_path):
        stage = self.stage(tmp_path)
        stage.run()
        before, first = contents(stage), image_path(stage.job.data.images, stage.ids()[0])
        first.write_bytes(image_path(stage.job.data.images, stage.ids()[1]).read_bytes())
        again = self.stage(tmp_path)
        for act in (again.refuse_conflict, again.run):
            with pytest.raises(InputError, match=f"{stage.ids()[0]}.*another --out.*--redo"):
                act()
        assert contents(again) == before

    def test_another_setting_is_refused_by_name(self, tmp_path):
        stage = self.stage(tmp_path)
        stage.run()
        before = contents(stage)
        other, word = self.changed(self.stage(tmp_path))
        for act in (other.refuse_conflict, other.run):
            with pytest.raises(InputError, match=f"{word}.*another --out.*--redo"):
                act()
        assert contents(stage) == before

    def test_redo_makes_it_anew(self, tmp_path):
        stage = self.stage(tmp_path)
        stage.run()
        whole = contents(stage)
        stage.remove()
        assert contents(stage) == {}
        other, _ = self.changed(self.stage(tmp_path))
        other.run()
        assert contents(other).keys() == whole.keys() and contents(other) != whole

    def test_its_time_is_noted(self, tmp_path):
        stage = self.stage(tmp_path)
        assert times.seconds_by_stage(stage.job.out) == {"seconds": {}, "processor_seconds": {}}
        stage.run()
        noted = (stage.job.out / times.FILE).read_text()
        assert times.seconds_by_stage(stage.job.out)["seconds"].keys() == {stage.name}
        stage.run()  # nothing was left to do
        assert (stage.job.out / times.FILE).read_text() == noted
        stage.remove()
        assert times.seconds_by_stage(stage.job.out) == {"seconds": {}, "processor_seconds": {}}

    def test_a_folder_in_use_is_refused(self, tmp_path):
        stage = self.stage(tmp_path)
        with record.locked(stage.folder, stage.name), pytest.raises(
            InputError, match="in use by process .* on host"
        ):
            stage.run()
        stage.run()

    def test_what_killed_processes_left_behind_goes(self, tmp_path):
        stage = self.stage(tmp_path)
        rests = [folder / ".picture0.png.abc.part" for folder in stage.products().values()]
        for rest in rests:
            rest.parent.mkdir(parents=True, exist_ok=True)
            rest.write_bytes(b"half")
        stage.run()
        assert not any(rest.exists() for rest in rests)

    def test_files_without_a_record_are_no_ones(self, tmp_path):
        stage = self.stage(tmp_path)
        stage.run()
        for folder in stage.products().values():
            (folder / record.FILE).unlink()
        with pytest.raises(InputError, match="unknown origin.*--take"):
            self.stage(tmp_path).refuse_conflict()

    def test_two_copies_are_equal(self, tmp_path):
        first, second = self.stage(tmp_path, "one"), self.stage(tmp_path, "two")
        first.run()
        second.run()
        assert contents(first) == contents(second)
        assert dataclasses.is_dataclass(first)
