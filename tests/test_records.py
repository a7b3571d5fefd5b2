"""run.json, scores.json and losses.jsonl: of the right types, or refused in one line that names the entry."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icd.errors import InputError
from icd.evaluate import sections
from icd.evaluate.compare import compare_runs, read_scores
from icd.evaluate.report import write_report
from icd.files import read_json
from icd.files.records import read_losses
from icd.provenance import read_run

RUN = {
    "recipe": {"learning_rate": 0.1}, "command": "icd run cam", "device": "cpu", "threshold_policy": "fixed 0.2",
    "data_list": {"path": "train.txt", "sha256": "0" * 64, "ids": 1}, "initial_weights": None, "seed": 0,
    "extra_supervision": [], "images": 1, "method": "cam", "backbone": "small", "classes": ["dog"], "eval_classes": None,
    "image_root": "im", "versions": {"icd": "0"}, "machine": {"cpu": "a", "cores": 1},
}  # fmt: skip
SCORE = {
    "kind": "cam", "variant": "nocrf", "name": "cam nocrf", "convention": "drop", "undefined": "drop", "images": 1,
    "missing": [], "evaluated_classes": [0, 1], "miou": 0.6125, "coverage": 1.0, "pixel_accuracy": 0.75,
    "classes": [{"number": 0, "name": "background", "iou": 0.75}, {"number": 1, "name": "dog", "iou": 0.475}],
    "counts": [[6, 1, 0], [1, 2, 0]],
}  # fmt: skip
DEEP = "[" * 100_000 + "]" * 100_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def _folder(path, run=None, score=None, losses=None):
    path.mkdir(exist_ok=True)
    (path / "run.json").write_text(json.dumps({**RUN, **(run or {})}))
    (path / "scores.json").write_text(json.dumps([{**copy.deepcopy(SCORE), **(score or {})}]))
    if losses is not None:
        (path / "losses.jsonl").write_text(losses)
    return path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", 5), ("data_list", "train.txt"), ("data_list", {"path": "a"}), ("recipe", [1]), ("method", 7),
        ("threshold_policy", 7), ("initial_weights", "vgg16"), ("initial_weights", {"sha256": 5}), ("machine", 3),
        ("extra_supervision", 3), ("image_root", 7), ("seed", "a"), ("eval_classes", ["a"]), ("versions", []),
    ],
)  # fmt: skip
def test_an_entry_of_another_type_is_named(tmp_path, key, value):
    with pytest.raises(InputError, match=rf"run\.json: .*{key}"):
        read_run(_folder(tmp_path / "run", run={key: value}))


@pytest.mark.parametrize(
    "change",
    [
        {"miou": "61.25"}, {"counts": [[6, 1, 0], [1]]}, {"counts": [[6, 1], [1, 2]]}, {"counts": [[-6, 1, 0], [1, 2, 0]]},
        {"classes": 5}, {"classes": [{"name": "a"}]}, {"missing": 3}, {"evaluated_classes": [99]}, {"coverage": "all"},
        {"evaluated_classes": 5}, {"evaluated_classes": [-1]}, {"name": None}, {"per_image": [1]}, {"counts": [[10**30] * 3] * 2},
    ],
)  # fmt: skip
def test_a_score_of_another_type_is_named(tmp_path, change):
    with pytest.raises(InputError, match=r"scores\.json: expected .*found .*\$\[0\]"):
        read_scores(_folder(tmp_path / "run", score=change))


def test_other_files_are_refused(tmp_path):
    for text in (DEEP, '{"a": ' * 100_000, "[1, 2]", '{"name": 1}', "[]x", "", '["a"]', "\xff"):
        folder = _folder(tmp_path / "run")
        (folder / "scores.json").write_bytes(text.encode("latin1"))
        with pytest.raises(InputError, match=r"scores\.json"):
            read_scores(folder)
    (folder / "run.json").write_text(DEEP)
    with pytest.raises(InputError, match=r"run\.json: .*too deep"):
        read_run(folder)
    with pytest.raises(InputError, match="nothing there"):
        read_json(tmp_path / "none.json")


def test_numbers_that_are_none_are_none(tmp_path):
    (tmp_path / "a.json").write_text("\ufeff[NaN, Infinity, -Infinity, 1e999, 0.5]")
    assert read_json(tmp_path / "a.json") == [None, None, None, None, 0.5]


STEPS = '{"epoch": 0, "step": 1, "cam": 0.7}\n{"epoch": 0, "step": 2, "cam": 0.6}\n'


@pytest.mark.parametrize(
    "line",
    [
        '{"epoch": 0, "cam": 0.5}',
        "[1, 2]",
        '{"step": 3, "cam": "low"}',
        DEEP,
        "{",
        '{"step": NaN}',
        "\x1b[2J",
    ],
)
def test_a_line_of_losses_that_is_none_is_named(tmp_path, line):
    (tmp_path / "losses.jsonl").write_text(STEPS + line + "\n")
    with pytest.raises(InputError, match=r"losses\.jsonl, line 3: ") as caught:
        read_losses(tmp_path / "losses.jsonl")
    assert str(caught.value).isprintable()


def test_a_training_that_diverged_is_drawn_as_far_as_it_goes(tmp_path):
    (tmp_path / "losses.jsonl").write_text(STEPS + '{"step": 3, "cam": Infinity}\n{"step": 4, "cam": NaN}\n')
    markup = sections.losses(tmp_path)
    assert (
        "2 losses are no finite numbers" in markup
        and "nan" not in markup
        and "inf" not in markup.replace("finite", "")
    )
    assert markup.count("<polyline") == 1


@settings(max_examples=100, deadline=None)
@given(
    entries=st.dictionaries(st.sampled_from([*RUN, *SCORE, "miou_per_policy", "per_image"]), JSON, max_size=3)
)
def test_any_entries_give_a_report_or_an_error(tmp_path_factory, entries):
    folder = tmp_path_factory.mktemp("any") / "run"
    run = {key: value for key, value in entries.items() if key in RUN}
    score = {key: value for key, value in entries.items() if key not in RUN or key in ("images", "classes")}
    _folder(folder, run, score, STEPS)
    for work in (lambda: write_report(folder, workers=1), lambda: compare_runs([folder, folder])):
        try:
            work()
        except InputError as error:
            assert str(error).isprintable()
