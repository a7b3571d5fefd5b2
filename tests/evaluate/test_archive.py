"""The archive for the VOC server."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from icd.classes import voc_palette
from icd.errors import InputError
from icd.evaluate.archive import write_voc_archive


def test_layout_and_content(write_masks, tmp_path):
    masks = {"2008_000006": np.arange(21).reshape(3, 7), "2008_000011": np.zeros((4, 4))}
    folder, path = write_masks("masks", masks), tmp_path / "out.tgz"
    assert write_voc_archive(path, folder, list(masks)) == 2
    with tarfile.open(path) as archive:
        names = archive.getnames()
        image = Image.open(io.BytesIO(archive.extractfile(names[0]).read()))
        assert names == [f"results/VOC2012/Segmentation/comp6_test_cls/{image_id}.png" for image_id in masks]
        assert image.mode == "P" and image.getpalette()[:63] == voc_palette()[:21].ravel().tolist()
        np.testing.assert_array_equal(np.array(image), masks["2008_000006"])
    first = path.read_bytes()
    write_voc_archive(path, folder, list(masks))
    assert path.read_bytes() == first


def test_faults_are_named(write_masks, tmp_path):
    folder = write_masks("masks", {"a": np.zeros((2, 2)), "b": np.full((2, 2), 255)})
    with pytest.raises(InputError, match="1 missing, such as c"):
        write_voc_archive(tmp_path / "x.tgz", folder, ["a", "c"])
    with pytest.raises(InputError, match="no ignore value"):
        write_voc_archive(tmp_path / "x.tgz", folder, ["a", "b"])
    with pytest.raises(InputError, match="tgz"):
        write_voc_archive(tmp_path / "x.zip", folder, ["a"])
    with pytest.raises(InputError, match="comp5, comp6"):
        write_voc_archive(tmp_path / "x.tgz", folder, ["a"], competition="comp7")
    assert not list(tmp_path.glob("x.*"))
