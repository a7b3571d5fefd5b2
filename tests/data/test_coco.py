"""COCO's instances as tags and as masks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from coco_file import CATEGORY_IDS, SQUARE, write_coco
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pycocotools import mask as coco_mask

from icd.classes import COCO_CLASSES
from icd.data import coco_masks
from icd.data.coco import Instances, Outline, read_coco_tags, read_instances
from icd.data.coco_masks import draw_mask, write_coco_masks
from icd.errors import InputError
from icd.files import mask_path, read_mask, write_mask


def test_ids_are_file_names_and_classes_run_without_gaps(tmp_path):
    images = [(9, "COCO_train2014_000000000009.jpg"), (25, "000000000025.jpg"), (30, "000000000030.jpg")]
    pairs = [(9, 1), (9, 90), (9, 90), (25, 13)]
    annotations = [{"image_id": image, "category_id": category} for image, category in pairs]
    tags = read_coco_tags(write_coco(tmp_path / "a.json", images, annotations), COCO_CLASSES)
    assert tags == {"COCO_train2014_000000000009": (1, 80), "000000000025": (12,), "000000000030": ()}
    assert COCO_CLASSES[11] == "stop sign" and COCO_CLASSES[79] == "toothbrush"


def test_every_category_is_the_class_of_its_name(tmp_path):
    images = [(number, f"{number}.jpg") for number in CATEGORY_IDS]
    annotations = [{"image_id": number, "category_id": number} for number in CATEGORY_IDS]
    tags = read_coco_tags(write_coco(tmp_path / "a.json", images, annotations), COCO_CLASSES)
    assert [tags[str(number)] for number in CATEGORY_IDS] == [(k,) for k in range(1, 81)]


def test_crowds_are_tags_and_strange_images_are_left_aside(tmp_path):
    annotations = [
        {"image_id": 1, "category_id": 3, "iscrowd": 1},
        {"image_id": 7, "category_id": 4},
        {"image_id": 1, "category_id": 1, "iscrowd": False, "keypoints": [{"deep": [None]}]},
    ]
    path = write_coco(tmp_path / "a.json", [(1, "a.jpg")], annotations)
    assert read_coco_tags(path, COCO_CLASSES) == {"a": (1, 3)}


def test_only_used_categories_must_be_classes(tmp_path):
    categories = {0: "everything", 5: "axle", 6: "wheel"}
    annotations = [{"image_id": 1, "category_id": 6}]
    path = write_coco(tmp_path / "a.json", [(1, "a.jpg")], annotations, categories)
    assert read_coco_tags(path, ("wheel", "axle")) == {"a": (1,)}


def test_the_other_sets_names_point_to_the_right_flag(tmp_path):
    path = write_coco(tmp_path / "a.json", [(1, "a.jpg")], [{"image_id": 1, "category_id": 5}])
    with pytest.raises(
        InputError, match="found 'airplane'. Did you mean 'aeroplane'.*--classes coco or FILE"
    ):
        read_coco_tags(path, ("aeroplane",))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda c: c.pop("annotations"), "missing required field `annotations`"),
        (lambda c: c["images"][0].pop("file_name"), r"`file_name` - at `\$.images\[0\]`"),
        (lambda c: c["annotations"][0].update(category_id="1"), "Expected `int`, got `str`"),
        (
            lambda c: c["annotations"][0].update(category_id=91),
            "an annotation of category 91, which it does not",
        ),
        (lambda c: c["categories"][0].update(name="persn"), r"'persn'. Did you mean 'person'\?"),
        (lambda c: c["images"].append(c["images"][0]), "every image once; found 3 images with 2 numbers"),
        (
            lambda c: c["images"][0].update(file_name="b.png"),
            "every image once; .* 2 numbers and 1 file names",
        ),
    ],
)
def test_other_content_is_refused(tmp_path, change, found):
    path = write_coco(tmp_path / "a.json", [(1, "a.jpg"), (2, "b.jpg")], [{"image_id": 1, "category_id": 1}])
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"a.json: expected .*{found}"):
        read_coco_tags(path, COCO_CLASSES)


DAMAGED = {
    "empty": "",
    "list": "[]",
    "null": "null",
    "cut": "{",
    "deep": '{"images": [' + "[" * 100_000,
    "latin": "\xff",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_json_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content, encoding="latin1")
    with pytest.raises(InputError, match="a.json: expected COCO's instances.*found damaged or other content"):
        read_coco_tags(tmp_path / "a.json", COCO_CLASSES)


@given(st.data())
def test_a_damaged_byte_gives_an_error_or_tags(tmp_path_factory, data):
    path = write_coco(
        tmp_path_factory.mktemp("damage") / "a.json", [(1, "a.jpg")], [{"image_id": 1, "category_id": 1}]
    )
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, 330))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        tags = read_coco_tags(path, COCO_CLASSES)
    except InputError:
        return
    assert all(isinstance(key, str) and set(own) <= set(range(1, 81)) for key, own in tags.items())


def _draw(*outlines, size=(10, 12)):
    """The mask of (class number, crowd, segmentation) entries."""
    packed = tuple(Outline(n, crowd, json.dumps(shape).encode()) for n, crowd, shape in outlines)
    return draw_mask(Instances("a", size, packed), "a.json")


def test_polygons_are_those_of_pycocotools():
    random = np.random.RandomState(0)
    for _ in range(50):
        polygons = [random.uniform(-5, 70, 2 * random.randint(3, 9)).tolist() for _ in range(2)]
        expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 60, 50)))
        np.testing.assert_array_equal(_draw((1, False, polygons), size=(60, 50)), expected)


def test_worked_example():
    mask = _draw((7, False, SQUARE))
    expected = np.zeros((10, 12), np.uint8)
    expected[2:6, 2:6] = 7
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == np.uint8


def test_polygons_without_area_are_nothing():
    assert not _draw((7, False, [[1, 1, 5, 5]]), (8, False, []), (9, False, [[]])).any()


def test_the_smaller_is_on_top_and_crowds_are_below():
    small, large = [[3, 3, 6, 3, 6, 6, 3, 6]], [[1, 1, 9, 1, 9, 9, 1, 9]]
    crowd = {"size": [10, 12], "counts": [0, 120]}
    for outlines in ((1, False, small), (2, False, large)), ((2, False, large), (1, False, small)):
        mask = _draw(*outlines, (3, True, crowd))
        assert mask[4, 4] == 1 and mask[2, 2] == 2 and mask[0, 0] == 3 and (mask > 0).all()
    assert (
        _draw((3, True, small), (2, False, large))[3:6, 3:6] == 2
    ).all()  # a crowd is below what is larger, too
    assert _draw((4, False, small), (5, False, small)).max() == 5


@given(region=arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_run_lengths_come_back(region):
    encoded = coco_mask.encode(np.asfortranarray(region.astype(np.uint8)))
    flat = region.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, len(flat)]).tolist()
    for shape in (
        {"size": list(region.shape), "counts": encoded["counts"].decode()},
        {"size": list(region.shape), "counts": [0, *counts] if flat[0] else counts},
    ):
        np.testing.assert_array_equal(_draw((1, True, shape), size=region.shape) > 0, region)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ({"size": [10, 12], "counts": [5, 3]}, r"2 run lengths of 8 pixels for the size \[10, 12\]"),
        ({"size": [10, 12], "counts": [5, 3, 1000]}, "3 run lengths of 1008 pixels"),
        ({"size": [10, 12], "counts": [-5, 125]}, "run lengths"),
        ({"size": [12, 10], "counts": [120]}, r"size \[12, 10\]"),
        ({"size": [10, 12], "counts": []}, "0 run lengths"),
        ({"size": [10, 12], "counts": ""}, "0 run lengths"),
        ({"size": [10, 12], "counts": "o" * 9}, "cut off"),
        ({"size": [10, 12], "counts": "o" * 99}, "damaged"),
        ({"size": [10, 12], "counts": "\u00e9"}, "damaged"),
        ({"size": [10, 12], "counts": [1.5]}, "Expected `int`, got `float`"),
        ({"counts": [120]}, "missing required field `size`"),
        ([[1, 1, 2, 2, 3, 3, 4]], "a polygon of 7 numbers"),
        ([[1, 1, 2, 2, 1e9, 3]], "far outside"),
        ([[1, 1, 2, 2, "x", 3]], "Expected `float`, got `str`"),
        ([[0, 0, 12, 10] * 10**5 + [0, 0]], "edges of more than"),
    ],
)
def test_other_outlines_are_refused(shape, found):
    with pytest.raises(
        InputError, match=f"a.json, image a: expected polygons inside 10 x 12.*found .*{found}"
    ):
        _draw((1, False, shape))


def test_eighty_classes_have_colours_of_their_own(tmp_path):
    write_mask(tmp_path / "a.png", np.arange(81, dtype=np.uint8)[None])
    colours = np.array(Image.open(tmp_path / "a.png").convert("RGB"))[0]
    assert len(np.unique(colours, axis=0)) == 81
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png")[0], np.arange(81))


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5), (2**20, 2**20)])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(InputError, match="the image's height and width"):
        _draw((1, False, SQUARE), size=size)


@pytest.fixture
def instances(tmp_path):
    images = [(number, f"i{number}.jpg", 10, 12) for number in range(6)]
    annotations = [{"image_id": number, "category_id": CATEGORY_IDS[-1 - number]} for number in range(5)]
    return write_coco(tmp_path / "instances_val.json", images, annotations)


@pytest.mark.parametrize("workers", [0, 2])
def test_masks_are_written_once(instances, tmp_path, workers):
    ids, folder = [f"i{number}" for number in range(5)], tmp_path / "masks"
    assert write_coco_masks(instances, COCO_CLASSES, ids, folder, workers) == (5, [])
    for number, image_id in enumerate(ids):
        mask = read_mask(mask_path(folder, image_id), (10, 12))
        assert set(np.unique(mask)) == {0, 80 - number} and np.count_nonzero(mask) == 16
    content = mask_path(folder, "i3").read_bytes()
    mask_path(folder, "i3").unlink()
    mask_path(folder, "i4").write_bytes(b"mine")
    assert write_coco_masks(instances, COCO_CLASSES, ids, folder, workers) == (1, [])
    assert mask_path(folder, "i3").read_bytes() == content and mask_path(folder, "i4").read_bytes() == b"mine"


def test_drawing_goes_on_where_it_stopped(instances, tmp_path, monkeypatch):
    draw, drawn = coco_masks.draw_mask_and_count, []

    def stop(entry, source):
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(entry.image_id)
        return draw(entry, source)

    monkeypatch.setattr(coco_masks, "draw_mask_and_count", stop)
    with pytest.raises(KeyboardInterrupt):
        write_coco_masks(instances, COCO_CLASSES, ["i0", "i1", "i2"], tmp_path / "masks", 0)
    monkeypatch.setattr(coco_masks, "draw_mask_and_count", draw)
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["i0.png", "i1.png"]
    assert write_coco_masks(instances, COCO_CLASSES, ["i0", "i1", "i2"], tmp_path / "masks", 0) == (1, [])


def test_instances_come_in_the_order_of_the_file(instances):
    found = list(read_instances(instances, COCO_CLASSES, {"i4", "i2", "i5", "other"}))
    assert [(entry.image_id, len(entry.outlines)) for entry in found] == [("i2", 1), ("i4", 1), ("i5", 0)]


@pytest.mark.parametrize("outline", [[], [[]], [[1, 1, 2, 2]], None])
def test_a_box_without_outline_is_not_scored_and_counted(tmp_path, outline):
    annotations = [
        {"image_id": 0, "category_id": 18, "segmentation": outline, "bbox": [4.5, 3, 5, 4]},
        {"image_id": 0, "category_id": 17},
        {"image_id": 1, "category_id": 17},
    ]
    path = write_coco(tmp_path / "a.json", [(0, "a.jpg"), (1, "b.jpg")], annotations)
    assert write_coco_masks(path, COCO_CLASSES, ["a", "b"], tmp_path, 0) == (2, ["a"])
    expected = np.zeros((10, 12), np.uint8)
    expected[3:7, 4:10] = 255
    expected[2:6, 2:6] = 16
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), expected)


def test_no_box_either_leaves_the_background(tmp_path):
    annotations = [
        {"image_id": 0, "category_id": 18, "segmentation": [], "bbox": box} for box in (None, [1, 2], "a")
    ]
    path = write_coco(tmp_path / "a.json", [(0, "a.jpg")], annotations)
    assert write_coco_masks(path, COCO_CLASSES, ["a"], tmp_path, 0) == (1, ["a"])
    assert not read_mask(tmp_path / "a.png").any()


def test_a_byte_order_mark_and_paths_of_windows(tmp_path):
    images = [(0, "images\\a.jpg"), (1, "images/b.jpg"), (2, "c d.jpg")]
    path = write_coco(tmp_path / "a.json", images, [{"image_id": n, "category_id": 18} for n in range(3)])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_coco_tags(path, COCO_CLASSES) == dict.fromkeys(("a", "b", "c d"), (17,))


@pytest.mark.parametrize("name", ["..", "/", "a\x1b.jpg", "x" * 300])
def test_a_file_name_that_is_none_is_refused(tmp_path, name):
    path = write_coco(tmp_path / "a.json", [(0, name)], [])
    with pytest.raises(InputError, match=r"a\.json, file_name .*an id, which is a name"):
        read_coco_tags(path, COCO_CLASSES)


def test_two_names_for_one_category_are_refused(tmp_path):
    path = write_coco(tmp_path / "a.json", [(0, "a.jpg")], [{"image_id": 0, "category_id": 18}])
    content = json.loads(path.read_text())
    content["categories"].append({"id": 18, "name": "dog"})
    path.write_text(json.dumps(content))
    assert read_coco_tags(path, COCO_CLASSES) == {"a": (17,)}
    content["categories"].append({"id": 18, "name": "cat"})
    path.write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"a\.json: expected one name for each category id; found 'dog' and 'cat' for 18"
    ):
        read_coco_tags(path, COCO_CLASSES)
