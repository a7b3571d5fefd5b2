"""GluonCV's networks on our masks, and GluonCV as an oracle: its metric, its outputs at its own size."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from segmenter_conformance import CLASSES, SegmenterConformance, make_batch
from thin import thin_layers
from trainable_conformance import parameters_of

from icd import compat
from icd.compat import load_gluoncv, mx
from icd.engine.build import build_trainable
from icd.engine.parameters import save_arrays
from icd.errors import InputError
from icd.evaluate.confusion import class_counts, joint_table
from icd.evaluate.policies import CONVENTIONS, apply_policy, class_scores
from icd.segment import find_segmenter, segmentation_recipe
from icd.segment.base import resize
from icd.segment.zoo import FAMILIES

FCN = "gluoncv:fcn_resnet50"
NAMES = (FCN, "gluoncv:psp_resnet50_ade", "gluoncv:deeplab_resnet50_citys", "gluoncv:danet_resnet50_citys")


class TestFCN(SegmenterConformance):
    name, backbone = FCN, None

    @pytest.fixture(autouse=True)
    def mostly_thin(self, request):
        """But where numbers are compared that a thin network, whose sums are short, makes too different."""
        compares = request.function.__name__ == "test_two_devices_equal_one"
        with contextlib.nullcontext() if compares else thin_layers():
            yield


@pytest.mark.parametrize("name", (*NAMES, "gluoncv:deeplab_v3b_plus_wideresnet_citys"))
@pytest.mark.usefixtures("thin")
def test_one_step_and_any_size(name):
    suite = SegmenterConformance()
    suite.name, suite.backbone = name, None
    suite.test_losses_and_gradients_are_finite()
    suite.test_predicts_any_image_size()


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize("name", NAMES)
def test_logits_are_gluoncvs(name):
    """At the size for which GluonCV makes a network, whose outputs are resized to the input."""
    from icd.backbones.base import imagenet_normalised

    segmenter = build_trainable(
        name, None, CLASSES, [mx.cpu()], recipe=segmentation_recipe(name, None, "embedded")
    )
    segmenter.network.hybridize(False)
    network, size = segmenter.network.network, 64
    for block in _resizing_blocks(network):
        step = 1 if block is network else 8
        block._up_kwargs = {"height": size // step, "width": size // step}
    images = mx.nd.random.uniform(0, 255, (2, 3, size, size))
    theirs = network(imagenet_normalised(mx.nd, images))
    ours = [resize(mx.nd, logits, (size, size), segmenter.alignment) for logits in segmenter(images)]
    order = ours[::-1] if len(ours) == 2 else [ours[2], ours[0], ours[1]]
    for one, other in zip(order, theirs):
        assert other.asnumpy().std() > 0
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), atol=1e-4 * np.abs(other.asnumpy()).max())


def _resizing_blocks(block):
    if hasattr(block, "_up_kwargs"):
        yield block
    for child in block._children.values():
        yield from _resizing_blocks(child)


@pytest.mark.usefixtures("thin")
def test_pretrained_files_of_the_network_and_of_its_trunk(tmp_path):
    """GluonCV's own names; a classifier for other classes starts anew."""
    recipe = segmentation_recipe(FCN, None, "embedded")
    source = build_trainable(FCN, None, 5, [mx.cpu()], seed=1, recipe=recipe)
    source.network.network.save_parameters(str(tmp_path / "fcn.params"))
    arrays = mx.nd.load(str(tmp_path / "fcn.params"))
    trunk = {name: a for name, a in arrays.items() if not name.startswith(("head", "auxlayer"))}
    mx.nd.save(str(tmp_path / "trunk.params"), trunk)
    expected = parameters_of(source)
    for file, whole in (("fcn", True), ("trunk", False)):
        built = build_trainable(
            FCN, None, 2, [mx.cpu()], seed=2, pretrained=tmp_path / f"{file}.params", recipe=recipe
        )
        found = parameters_of(built)
        same = {name for name in found if np.array_equal(found[name], expected[name])}
        trained = {name for name in found if name.endswith("_weight")}
        heads = {name for name in trained if "resnet" not in name}
        classifiers = {name for name in heads if len(found[name]) == 3}
        assert len(heads) == 4 and len(classifiers) == 2
        assert trained - same == (classifiers if whole else heads)
    save_arrays(tmp_path / "half.params", {n: a for n, a in trunk.items() if not n.startswith("layer4")})
    with pytest.raises(InputError, match="missing: fcn0_resnetv1s"):
        build_trainable(FCN, None, 2, [mx.cpu()], pretrained=tmp_path / "half.params", recipe=recipe)


def test_names():
    for family, description in FAMILIES.items():
        kind = find_segmenter(f"gluoncv:{family}_{description.trunks[0]}_voc")
        assert kind.family is description
    for wrong in (
        "gluoncv:",
        "gluoncv:fcn_vgg16",
        "gluoncv:icnet_resnet50_citys",
        "gluoncv:yolo3_darknet53_voc",
    ):
        with pytest.raises(InputError, match="gluoncv:fcn_<resnet50 or"):
            find_segmenter(wrong)
    with pytest.raises(InputError, match="has its own"):
        build_trainable(FCN, "small", 2, [mx.cpu()])


# Where GluonCV cannot be imported


def test_gluoncv_is_not_installed(monkeypatch):
    found = compat.importlib.util.find_spec
    missing = lambda name, *rest: None if name == "gluoncv" else found(name, *rest)  # noqa: E731
    monkeypatch.setattr(compat.importlib.util, "find_spec", missing)
    with pytest.raises(InputError, match="^gluoncv: .*not installed.*pip install 'gluoncv") as caught:
        build_trainable(FCN, None, 2, [mx.cpu()])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (RuntimeError("Legacy torch==2.1 detected,\n some modules"), "without torch"),
        (ImportError("libGL.so.1: cannot open shared object file"), "libgl1"),
        (ModuleNotFoundError("No module named 'portalocker'"), "pip install portalocker"),
        (ValueError("something else"), "--force-reinstall"),
    ],
)
def test_gluoncv_cannot_be_imported(monkeypatch, error, remedy):
    class Raises:
        def find_spec(self, name, path=None, target=None):
            if name == "gluoncv":
                raise error

    monkeypatch.setattr(compat.importlib.util, "find_spec", lambda name: SimpleNamespace(origin="there"))
    monkeypatch.setattr(compat, "load_mxnet", lambda: mx)
    monkeypatch.setattr(sys, "meta_path", [Raises(), *sys.meta_path])
    for name in [name for name in sys.modules if name.split(".")[0] == "gluoncv"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(compat.MXNetUnavailable, match=remedy) as caught:
        load_gluoncv()
    assert "\n" not in str(caught.value)


# GluonCV as an oracle


def test_metric_is_gluoncvs():
    """On masks in which every class occurs: GluonCV counts an absent one as 0."""
    from icd.classes import IGNORE

    load_gluoncv()
    from gluoncv.utils.metrics.segmentation import SegmentationMetric

    random, outputs = np.random.RandomState(0), 1 + CLASSES
    metric, counts = SegmentationMetric(outputs), 0
    for _ in range(5):
        truth = random.randint(0, outputs, (40, 50))
        truth[random.rand(40, 50) < 0.2] = IGNORE
        prediction = np.where(
            random.rand(40, 50) < 0.5,
            np.where(truth == IGNORE, 0, truth),
            random.randint(0, outputs, (40, 50)),
        )
        logits = np.eye(outputs)[prediction].transpose(2, 0, 1)[None]
        metric.update(mx.nd.array(np.where(truth == IGNORE, -1, truth)[None]), mx.nd.array(logits))
        table = joint_table(truth.astype(np.uint8), prediction.astype(np.uint8))
        counts = counts + class_counts(table, CLASSES, CONVENTIONS["deeplab"], "truth", "prediction")
    accuracy, miou = metric.get()
    confusion, missed = apply_policy(counts, CONVENTIONS["deeplab"].undefined)
    np.testing.assert_allclose(class_scores(confusion, missed)["iou"].mean(), miou, rtol=1e-9)
    np.testing.assert_allclose(np.trace(confusion) / confusion.sum(), accuracy, rtol=1e-9)


def test_batches_of_the_conformance_are_valid():
    batch = make_batch()
    assert batch["image"].max() <= 255 and set(np.unique(batch["mask"])) == {0, 1, 2, 3, 255}


def test_files_are_read_as_strictly_with_gluoncv_as_without():
    """GluonCV makes Pillow fill cut-off files with gray; a damaged mask would then be scored."""
    script = (
        "from icd.compat import load_gluoncv; from PIL import ImageFile; load_gluoncv();"
        "print(ImageFile.LOAD_TRUNCATED_IMAGES)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
