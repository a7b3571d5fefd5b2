"""Every source of tags gives the same tags, and says what is wrong with a file."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from coco_file import CATEGORY_IDS, write_coco
from hypothesis import given
from hypothesis import strategies as st
from runs import recipe_of
from small_folder import CLASSES, write_tags

from icd.classes import COCO_CLASSES, VOC_CLASSES
from icd.data.augment import ScaledCrop
from icd.data.batches import TrainBatches
from icd.data.dataset import ImageDataset
from icd.data.tags import multi_hot, open_tags
from icd.errors import InputError

tag_sets = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True), st.sets(st.integers(1, 80)), min_size=1, max_size=9
).filter(lambda tags: any(tags.values()))


def write_npy(path, tags, length):
    vectors = {key: np.zeros(length, np.float32) for key in tags}
    for key, own in tags.items():
        vectors[key][[number - 1 for number in own]] = 1
    np.save(path, vectors)
    return path


def write_csv(path, tags, classes):
    rows = (f"{key},{';'.join(classes[number - 1] for number in own)}\n" for key, own in tags.items())
    path.write_text("id,tags\n" + "".join(rows))
    return path


def write_class_list(path, tags):
    path.write_text("".join(f"{key} {' '.join(str(n - 1) for n in own)} \n" for key, own in tags.items()))
    return path


def write_json(path, tags):
    images = [(number, f"{key}.jpg") for number, key in enumerate(tags)]
    pairs = [(image, number) for image, own in enumerate(tags.values()) for number in own]
    annotations = [{"image_id": image, "category_id": CATEGORY_IDS[n - 1]} for image, n in pairs]
    return write_coco(path, images, annotations)


@given(tags=tag_sets)
def test_all_files_agree(tmp_path_factory, tags):
    folder = tmp_path_factory.mktemp("tags")
    paths = [
        write_npy(folder / "cls_labels.npy", tags, 80),
        write_csv(folder / "tags.csv", tags, COCO_CLASSES),
        write_class_list(folder / "train_cls.txt", tags),
        write_json(folder / "instances.json", tags),
    ]
    expected = {key: tuple(sorted(own)) for key, own in tags.items()}
    for path in paths:
        source = pickle.loads(pickle.dumps(open_tags(path, COCO_CLASSES)))
        assert source.tags == expected, path.name
        for key, own in expected.items():
            assert source.path(key) == path
            if own:
                assert source.read(key) == own
                assert tuple(np.flatnonzero(multi_hot(own, 80)) + 1) == own
            else:
                with pytest.raises(InputError, match=f"{path.name}: expected .* tag of {key}; found none"):
                    source.read(key)


def test_folder_of_xml(tmp_path):
    write_tags(tmp_path / "a.xml", [("dog", 0), ("cat", 1)])
    source = pickle.loads(pickle.dumps(open_tags(tmp_path)))
    assert source.read("a") == (12,) and source.path("a") == tmp_path / "a.xml"


@pytest.mark.parametrize("name", ["tags", "tags.csv", "tags.yaml", "cls_labels.npy"])
def test_what_is_not_there_is_named(tmp_path, name):
    with pytest.raises(
        InputError, match=rf"{name}: expected a folder of <id>.xml.*\.csv.*found nothing there"
    ):
        open_tags(tmp_path / name)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "tags.yaml").write_text("a: dog\n")
    with pytest.raises(InputError, match="found a file ending in '.yaml'"):
        open_tags(tmp_path / "tags.yaml")


def test_unknown_id_shows_how_the_file_names_images(tmp_path):
    path = write_class_list(tmp_path / "a.txt", {"COCO_train2014_000000000009": {1}})
    with pytest.raises(
        InputError, match="tag of 000000000009; found 1 other ids.*COCO_train2014_000000000009"
    ):
        open_tags(path).read("000000000009")


def test_a_file_without_any_tag_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("2007_000032\n2007_000033\n")
    (tmp_path / "a.csv").write_text("id,tags\n2007_000032,\n")
    np.save(tmp_path / "a.npy", {})
    write_coco(tmp_path / "a.json", [(1, "a.jpg")], [])
    for kind in ("txt", "csv", "npy", "json"):
        with pytest.raises(
            InputError, match=f"a.{kind}: expected the tags of at least one image; found none"
        ):
            open_tags(tmp_path / f"a.{kind}")


def test_numbers_as_ids_of_vectors(tmp_path):
    tags = {np.int32(2007000032): {1, 20}, 2011003276: {7}, 9: {15}}
    source = open_tags(write_npy(tmp_path / "a.npy", tags, 20))
    assert source.tags == {"2007_000032": (1, 20), "2011_003276": (7,), "000000000009": (15,)}


@pytest.mark.parametrize("dtype", ["f4", "u1", "i8", "?", ">f4"])
def test_types_of_vectors(tmp_path, dtype):
    np.save(tmp_path / "a.npy", {"a": np.array([0, 1, 1], dtype)})
    assert open_tags(tmp_path / "a.npy", CLASSES).read("a") == (2, 3)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"a": np.zeros(80)}, r"an array of shape \(80,\) for 'a'.*--classes \(voc, coco"),
        ({"a": np.zeros((1, 20))}, r"an array of shape \(1, 20\)"),
        ({"a": np.full(20, 0.5)}, "other values for 'a'"),
        ({"a": np.full(20, np.nan)}, "other values"),
        ({"a": np.full(20, "1")}, "a ndarray"),
        ({"a": [0] * 20}, "a list for 'a'"),
        ({"a": None}, "a NoneType"),
        ({(1, 2): np.zeros(20)}, "keys of another type"),
        ({True: np.zeros(20)}, "keys of another type"),
        ({-1: np.zeros(20)}, "keys of another type"),
        ({2007000032: np.ones(20), "2007_000032": np.ones(20)}, "two entries"),
        (["a"], "a ndarray"),
        (np.zeros(20), "a ndarray"),
    ],
)
def test_other_vectors_are_refused(tmp_path, content, found):
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(
        InputError, match=f"a.npy: expected a dictionary from id to a vector of 20.*found {found}"
    ):
        open_tags(tmp_path / "a.npy")


class _Runs:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def test_nothing_in_a_pickle_is_run(tmp_path):
    np.save(tmp_path / "a.npy", {"a": np.zeros(20), "b": _Runs(tmp_path / "trace")})
    with pytest.raises(InputError, match="a.npy: .*the pickle asks for"):
        open_tags(tmp_path / "a.npy")
    assert not (tmp_path / "trace").exists()


def test_table_as_spreadsheets_write_it(tmp_path):
    (tmp_path / "a.csv").write_bytes(
        b'\xef\xbb\xbfid, tags\r\n2007_000032,"dining table; dog;dog"\r\n\r\n"b", person \r\nc,\r\n'
    )
    source = open_tags(tmp_path / "a.csv", ("dog", "dining table", "person"))
    assert source.tags == {"2007_000032": (1, 2), "b": (3,), "c": ()}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("id,tags\na,dog;cta\n", r"a.csv, line 2: .*found 'cta'. Did you mean 'cat'\?"),
        ("id,tags\na,dining table\n", "found 'dining table'. .*--classes coco or FILE"),
        ("id,tags\na,dog\nb,cat\na,cat\n", "every id once; found 'a' in lines 2 and 4"),
        ("id,tags\na,dog,cat\n", "line 2: expected an id, a comma.*found 3 cells"),
        ("id,tags\na\n", "found 1 cells"),
        ("id,tags\n ,dog\n", "found an empty id"),
        ("a,dog\n", "expected a table with the header id,tags.*found the first line 'a,dog'"),
        ("id;tags\na;dog\n", "found the first line 'id;tags'"),
        ("", "found the first line ''"),
        ('id,tags\na,"dog', "damaged content .*UTF-8"),
        (b"id,tags\na,caf\xe9\n", "damaged content .*UTF-8"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, content, found):
    (tmp_path / "a.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=found):
        open_tags(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("a 0 20\n", "a.txt, line 1: expected an id and class numbers 0..19.*found '20'"),
        ("a 1\nb dog\n", "line 2: .*found 'dog'"),
        ("a -1\n", "found '-1'"),
        ("a 1.0\n", "found '1.0'"),
        ("a 1\nb 1\na 2\n", "every id once; found 'a' in lines 1 and 3"),
        pytest.param(f"a {'9' * 5000}\n", "found '9999", id="huge"),
        ("a 1\n\nb 2\n", "a blank line 2"),
    ],
)
def test_damaged_lists_are_refused(tmp_path, content, found):
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(InputError, match=found):
        open_tags(tmp_path / "a.txt")


@pytest.mark.parametrize("workers", [0, 2])
def test_training_reads_tags_of_a_file(small, workers):
    tags = {image_id: small.dataset().tags(index) for index, image_id in enumerate(small.ids)}
    path = write_csv(small.root / "tags.csv", tags, CLASSES)
    dataset = ImageDataset(small.root / "images", path, small.ids, CLASSES)
    batches = TrainBatches(dataset, recipe_of(2), ScaledCrop(32, (1,)), 0, workers)
    labels = {i: label for (batch,) in batches.epoch(0) for i, label in zip(batch["ids"], batch["label"])}
    batches.close()
    assert {i: tuple(np.flatnonzero(label) + 1) for i, label in labels.items()} == tags


def test_training_names_the_image_without_tags(small):
    path = write_csv(small.root / "tags.csv", {**dict.fromkeys(small.ids, (1,)), "image_3": ()}, CLASSES)
    dataset = ImageDataset(small.root / "images", path, small.ids, CLASSES)
    assert dataset.load(2)[2] == (1,)
    with pytest.raises(InputError, match="tags.csv: expected at least one tag of image_3; found none"):
        dataset.load(3)


def test_names_of_the_other_set_are_pointed_to(tmp_path):
    path = write_csv(tmp_path / "a.csv", {"a": (16,)}, VOC_CLASSES)
    with pytest.raises(
        InputError, match=r"'pottedplant'. Did you mean 'potted plant'\?.*--classes voc or FILE"
    ):
        open_tags(path, COCO_CLASSES)
