"""What the checkpoints of other programs hold: every key with its shape, network by network.

In: nothing. Out: `FAMILIES`. Source: spec, the sections on checkpoints of resnet38, eps, psa, seam, irn, vwe, ppc, drs and
deeplab.
"""

from __future__ import annotations

import re
from dataclasses import replace

from icd.weights.tables import COUNTERS, Entry, Family, Network, torch_entries


def _convolution(layer, outputs, inputs, kernel=1, bias=False) -> dict:
    shapes = {f"{layer}.weight": (outputs, inputs, kernel, kernel)}
    return {**shapes, f"{layer}.bias": (outputs,)} if bias else shapes


def _group_norm(layer, channels) -> dict:
    return {f"{layer}.weight": (channels,), f"{layer}.bias": (channels,)}


def _batch_norm(layer, channels) -> dict:
    return {**_group_norm(layer, channels), **{f"{layer}.running_{n}": (channels,) for n in ("mean", "var")}}


def _prefixed(prefix: str, shapes: dict) -> dict:
    return {prefix + key: shape for key, shape in shapes.items()}


# ResNet-38 (spec resnet38 2 and 6) and its heads

_STAGES = ((2, 3, 128, 128), (3, 3, 256, 256), (4, 6, 512, 512), (5, 3, 512, 1024))


def _resnet38() -> dict:
    shapes, inputs = _convolution("conv1a", 64, 3, 3), 64
    for stage, count, middle, outputs in _STAGES:
        for number in range(count):
            block = f"b{stage}_{number}" if number else f"b{stage}"
            shapes.update(_batch_norm(f"{block}.bn_branch2a", inputs))
            shapes.update(_convolution(f"{block}.conv_branch2a", middle, inputs, 3))
            shapes.update(_batch_norm(f"{block}.bn_branch2b1", middle))
            shapes.update(_convolution(f"{block}.conv_branch2b1", outputs, middle, 3))
            if not number:
                shapes.update(_convolution(f"{block}.conv_branch1", outputs, inputs))
            inputs = outputs
    for block, outputs in (("b6", 2048), ("b7", 4096)):
        quarter, half = outputs // 4, outputs // 2
        for branch, channels in (("2a", inputs), ("2b1", quarter), ("2b2", half)):
            shapes.update(_batch_norm(f"{block}.bn_branch{branch}", channels))
        shapes.update(_convolution(f"{block}.conv_branch2a", quarter, inputs))
        shapes.update(_convolution(f"{block}.conv_branch2b1", half, quarter, 3))
        shapes.update(_convolution(f"{block}.conv_branch2b2", outputs, half))
        shapes.update(_convolution(f"{block}.conv_branch1", outputs, inputs))
        inputs = outputs
    return {**shapes, **_batch_norm("bn7", inputs)}


def _on_resnet38(title: str, **heads) -> Network:
    layers = {f"{name}.weight": (*shape, 1, 1) for name, shape in heads.items()}
    return Network(title, torch_entries({**_resnet38(), **layers}))


_CAM = _on_resnet38("CAM network", fc8=("classes", 4096))
_AFFINITY = _on_resnet38("AffinityNet", f8_3=(64, 512), f8_4=(128, 1024), f8_5=(256, 4096), f9=(448, 448))
_PIXEL_CORRELATION = {"fc8": ("classes", 4096), "f8_3": (64, 512), "f8_4": (128, 1024), "f9": (192, 195)}


def _mxnet_key(key: str, name: str) -> str:
    """The name of an array in MXNet's own file of model A1 (spec resnet38 6)."""
    match = re.fullmatch(r"b(\d)(?:_(\d))?\.(conv|bn)_(branch\w+)\.\w+", key)
    if match is None:
        return name
    stage, number, kind, branch = match.groups()
    place = f"b{number}" if number else "a"
    return f"{'res' if kind == 'conv' else 'bn'}{stage}{place}_{branch}_{name.split(branch + '_')[1]}"


_MODEL_A1 = Network(
    "model A1",
    tuple(Entry(_mxnet_key(e.key, e.name), e.shape, e.name) for e in torch_entries(_resnet38())),
    ((r"linear1000_(weight|bias)", "the ImageNet classifier"),),
)

# ResNet-50 and ResNet-101, the stride on the 3x3 convolution, and with the deep stem (spec vwe 2.1, deeplab A2)

_BLOCKS = {"ResNet-50": (3, 4, 6, 3), "ResNet-101": (3, 4, 23, 3)}


def _resnet(depth: str, deep_stem=False) -> dict:
    if deep_stem:
        inputs = 128
        shapes = {**_convolution("conv1.0", 64, 3, 3), **_batch_norm("conv1.1", 64),
                  **_convolution("conv1.3", 64, 64, 3), **_batch_norm("conv1.4", 64),
                  **_convolution("conv1.6", 128, 64, 3)}  # fmt: skip
    else:
        inputs, shapes = 64, _convolution("conv1", 64, 3, 7)
    shapes.update(_batch_norm("bn1", inputs))
    for stage, count in enumerate(_BLOCKS[depth], 1):
        middle, outputs = 32 << stage, 128 << stage
        for number in range(count):
            block = f"layer{stage}.{number}"
            rows = ((1, inputs, middle, 1), (2, middle, middle, 3), (3, middle, outputs, 1))
            for place, before, after, kernel in rows:
                shapes.update(_convolution(f"{block}.conv{place}", after, before, kernel))
                shapes.update(_batch_norm(f"{block}.bn{place}", after))
            if not number:
                shapes.update(_convolution(f"{block}.downsample.0", outputs, inputs))
                shapes.update(_batch_norm(f"{block}.downsample.1", outputs))
            inputs = outputs
    return shapes


_FULLY_CONNECTED = (r"fc\.(weight|bias)", "the ImageNet classifier")


def _imagenet_resnet(depth: str, deep_stem=False) -> Network:
    title = f"{depth} with the deep stem" if deep_stem else depth
    return Network(title, torch_entries(_resnet(depth, deep_stem)), (COUNTERS, _FULLY_CONNECTED))


# Where the layers of a ResNet are registered once more: in stages, which are registered again in a list of them.
_CAM_STAGES = ({"conv1": 0, "bn1": 1, "layer1": 4}, {"layer2": 0}, {"layer3": 0}, {"layer4": 0})
_IRN_STAGES = ({"conv1": 0, "bn1": 1}, {"layer1": 0}, {"layer2": 0}, {"layer3": 0}, {"layer4": 0})


def _staged(prefix: str, stages: tuple) -> tuple:
    return tuple(
        (f"{prefix}{layer}.", f"{beginning}.{place}.")
        for number, stage in enumerate(stages)
        for layer, place in stage.items()
        for beginning in (f"stage{number + 1}", f"backbone.{number}")
    )


# IRN (spec irn 2) and VWE (spec vwe 2.7)


def _irn_cam() -> Network:
    shapes = {**_prefixed("resnet50.", _resnet("ResNet-50")), **_convolution("classifier", "classes", 2048)}
    aliases = (*_staged("resnet50.", _CAM_STAGES), ("classifier.", "newly_added.0."))
    return Network("CAM network", torch_entries(shapes, "resnet50.", aliases))


def _irn() -> Network:
    shapes = _prefixed("resnet50.", _resnet("ResNet-50"))
    for layer, inputs, outputs in (
        ("fc_edge1", 64, 32), ("fc_edge2", 256, 32), ("fc_edge3", 512, 32), ("fc_edge4", 1024, 32),
        ("fc_edge5", 2048, 32), ("fc_dp1", 64, 64), ("fc_dp2", 256, 128), ("fc_dp3", 512, 256),
        ("fc_dp4", 1024, 256), ("fc_dp5", 2048, 256), ("fc_dp6", 768, 256), ("fc_dp7", 448, 256),
    ):  # fmt: skip
        shapes.update({**_convolution(f"{layer}.0", outputs, inputs), **_group_norm(f"{layer}.1", outputs)})
    shapes.update(_convolution("fc_edge6", 1, 160, bias=True))
    shapes.update({**_convolution("fc_dp7.3", 2, 256), "mean_shift.running_mean": (2,)})
    aliases = (
        *_staged("resnet50.", _IRN_STAGES),
        *((f"fc_edge{n}.", f"edge_layers.{n - 1}.") for n in range(1, 7)),
        *((f"fc_dp{n}.", f"dp_layers.{n - 1}.") for n in range(1, 8)),
        ("mean_shift.", "fc_dp7.4."),
        ("mean_shift.", "dp_layers.6.4."),
    )
    pairs = (r"path_indices\d+|disp_target", "the training's path indices")
    return Network("IRN", torch_entries(shapes, "resnet50.", aliases), (COUNTERS, pairs))


def _vwe(depth: str, codebook: bool) -> Network:
    shapes = {**_prefixed("resnet.", _resnet(depth)), **_convolution("classifier", "classes", 2048)}
    if codebook:
        shapes["VWE.centroid"] = ("words", 2048, 1, 1)
    shapes.update({**_convolution("fc_a", "classes", "words"), **_convolution("fc_b", "words", 2048)})
    new = ("classifier.", "VWE.", "fc_a.", "fc_b.") if codebook else ("classifier.", "fc_a.", "fc_b.")
    added = tuple((layer, f"newly_added.{place}.") for place, layer in enumerate(new))
    aliases = (*_staged("resnet.", _CAM_STAGES), *added)
    title = "VWE or VWL-L" if codebook else "VWL-M"
    return Network(f"{title}, {depth}", torch_entries(shapes, "resnet.", aliases))


# VGG-16: torchvision's with DRS's layers on it (spec drs 2.7), and DeepLab's, on which ICD stands (spec icd 2.2)

_VGG16 = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
_FEATURES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def _vgg16_layers():
    """Group, number in the group, inputs and outputs of the 13 convolutions."""
    inputs = 3
    for group, (count, outputs) in enumerate(_VGG16, 1):
        for number in range(1, count + 1):
            yield group, number, inputs, outputs
            inputs = outputs


def _drs(title: str, learnable: bool) -> Network:
    shapes, aliases = {}, []
    for place, (group, number, inputs, outputs) in zip(_FEATURES, _vgg16_layers()):
        shapes.update(_convolution(f"features.{place}", outputs, inputs, 3, bias=True))
        aliases.append((f"features.{place}.", f"layer{group}_conv{number}."))
        if learnable:
            shapes[f"layer{group}_relu{number}.fc.0.weight"] = (outputs, outputs)
    for number in (1, 2, 3):
        shapes.update(_convolution(f"extra_conv{number}", 512, 512, 3, bias=True))
        if learnable:
            shapes[f"extra_relu{number}.fc.0.weight"] = (512, 512)
    shapes.update(_convolution("extra_conv4", "classes", 512, bias=True))
    return Network(title, torch_entries(shapes, aliases=tuple(aliases)))


def _torchvision_vgg16() -> Network:
    shapes = {}
    for place, (_, _, inputs, outputs) in zip(_FEATURES, _vgg16_layers()):
        shapes.update(_convolution(f"features.{place}", outputs, inputs, 3, bias=True))
    classifier = (r"classifier\.[036]\.(weight|bias)", "the ImageNet classifier")
    return Network("VGG-16", torch_entries(shapes), (classifier,))


def _caffe_vgg16() -> Network:
    shapes = {}
    for group, number, inputs, outputs in _vgg16_layers():
        shapes.update(_convolution(f"conv{group}_{number}", outputs, inputs, 3, bias=True))
    shapes.update(_convolution("fc6", 1024, 512, 3, bias=True))
    shapes.update(_convolution("fc7", 1024, 1024, bias=True))
    return Network("vgg16_20M", torch_entries(shapes), ((r"fc8\w*\.(weight|bias)", "the classifier"),))


# DeepLab (spec deeplab A2 and B2)


def _deeplab_v1(title: str, body: dict, channels: int) -> Network:
    head = {
        **_convolution("conv_fov", 512, channels, 3), **_batch_norm("bn_fov", 512),
        **_convolution("conv_fov2", 512, 512), **_batch_norm("bn_fov2", 512),
        **_convolution("cls_conv", "classes", 512, bias=True),
    }  # fmt: skip
    return Network(title, torch_entries({**_prefixed("backbone.", body), **head}, "backbone."))


_RETRAINED = _deeplab_v1("DeepLab-v1 on ResNet-38", _resnet38(), 4096)
_CONVOLUTIONS = {"shortcut": "branch1", "reduce": "branch2a", "conv3x3": "branch2b", "increase": "branch2c"}


def _caffe_resnet() -> dict:
    """ResNet-101 with the stride on the first 1x1 convolution: layers without ".conv" and ".bn" to their convolutions' shapes."""
    layers, inputs = {"layer1.conv1": (64, 3, 7)}, 64
    for stage, count in enumerate((3, 4, 23, 3), 2):
        middle, outputs = 16 << stage, 64 << stage
        for number in range(1, count + 1):
            block = f"layer{stage}.block{number}"
            layers[f"{block}.reduce"] = (middle, inputs, 1)
            layers[f"{block}.conv3x3"] = (middle, middle, 3)
            layers[f"{block}.increase"] = (outputs, middle, 1)
            if number == 1:
                layers[f"{block}.shortcut"] = (outputs, inputs, 1)
            inputs = outputs
    return layers


def _deeplab_v2(prefix: str, pyramid: bool) -> dict:
    shapes = {}
    for layer, (outputs, inputs, kernel) in _caffe_resnet().items():
        shapes.update(_convolution(f"{prefix}{layer}.conv", outputs, inputs, kernel))
        shapes.update(_batch_norm(f"{prefix}{layer}.bn", outputs))
    for number in range(4) if pyramid else ():
        shapes.update(_convolution(f"{prefix}aspp.c{number}", "classes", 2048, 3, bias=True))
    return shapes


_PARTS = {"reduce": ("conv1", "bn1"), "conv3x3": ("conv2", "bn2"), "increase": ("conv3", "bn3"),
          "shortcut": ("downsample_0", "downsample_1")}  # fmt: skip


def _deeplab_entries(prefix: str, pyramid: bool) -> tuple:
    """The entries of deeplab-pytorch, whose layers have the names of our ResNets: layer3.block2.reduce.bn is layer2_1_bn1."""
    entries = torch_entries(_deeplab_v2(prefix, pyramid), prefix)
    return tuple(replace(entry, name=_resnet_name(entry.name)) for entry in entries)


def _resnet_name(name: str) -> str:
    match = re.fullmatch(r"layer(\d)_(?:block(\d+)_)?(\w+?)_(conv|bn)_(\w+)", name)
    if match is None:
        return name
    stage, number, part, kind, field = match.groups()
    place = 0 if kind == "conv" else 1
    if number is None:
        return f"{('conv1', 'bn1')[place]}_{field}"
    return f"layer{int(stage) - 1}_{int(number) - 1}_{_PARTS[part][place]}_{field}"


def _caffe_key(key: str) -> str:
    """The Caffe name of a key of deeplab-pytorch; batch norm is a layer of statistics and one of scale and shift."""
    match = re.fullmatch(r"aspp\.(c\d)\.(\w+)", key)
    if match is not None:
        return f"fc1_{match[1]}.{match[2]}"
    layer, kind, field = key.rsplit(".", 2)
    place = "conv1"
    if layer != "layer1.conv1":
        stage, number, part = re.fullmatch(r"layer(\d)\.block(\d+)\.(\w+)", layer).groups()
        stage, number = int(stage), int(number)
        count = (3, 4, 23, 3)[stage - 2]
        block = "abc"[number - 1] if count == 3 else "a" if number == 1 else f"b{number - 1}"
        place = f"{stage}{block}_{_CONVOLUTIONS[part]}"
    if kind == "conv":
        return f"{place if place == 'conv1' else 'res' + place}.{field}"
    beginning = "bn" if field.startswith("running") else "scale"
    return f"{beginning}{'_' if place == 'conv1' else ''}{place}.{field}"


def _caffe_deeplab(title: str, pyramid: bool) -> Network:
    entries = _deeplab_entries("", pyramid)
    ignored = [(r".*res0(5|75).*", "the copies for scaled images")]
    if not pyramid:
        ignored.append((r"fc1_\w+\.(weight|bias)", "the classifier"))
    return Network(title, tuple(Entry(_caffe_key(e.key), e.shape, e.name) for e in entries), tuple(ignored))


_SEGMENTATION_CLASSIFIER = (r"fc\.(weight|bias)", "the classifier of COCO")

FAMILIES = {
    "eps": Family("EPS and its baseline (halbielee/EPS)", (_CAM,)),
    "psa": Family("PSA on ResNet-38 (jiwoon-ahn/psa)", (_CAM, _AFFINITY)),
    "seam": Family(
        "SEAM (YudeWang/SEAM) and its retrained network",
        (_on_resnet38("SEAM", **_PIXEL_CORRELATION), _AFFINITY, _RETRAINED),
    ),
    "irn": Family("IRN (jiwoon-ahn/irn)", (_irn_cam(), _irn()), counters=True),
    "vwe": Family(
        "VWE, VWL-L and VWL-M (rulixiang/vwe)",
        tuple(_vwe(depth, codebook) for depth in _BLOCKS for codebook in (True, False)),
        counters=True,
        codebook=True,
    ),
    "ppc": Family(
        "PPC on SEAM and on EPS (usr922/wseg) and its retrained networks",
        (
            _on_resnet38("SEAM and PPC", **_PIXEL_CORRELATION, fc_proj=(128, 4096)),
            _on_resnet38("EPS and PPC", **_PIXEL_CORRELATION, proj_fc=(128, 4096)),
            _AFFINITY,
            _RETRAINED,
            _deeplab_v1("DeepLab-v1 on ResNet-101", _resnet("ResNet-101", deep_stem=True), 2048),
        ),
        counters=True,
    ),
    "drs": Family(
        "DRS (qjadud1994/DRS)",
        (
            _drs("classifier with learnt suppression", learnable=True),
            _drs("classifier with fixed suppression, or refinement network", learnable=False),
        ),
        wrapper="model",
    ),
    "deeplab-pytorch": Family(
        "DeepLab-v2 (kazuto1011/deeplab-pytorch; DRS's copy)",
        (
            Network("DeepLab-v2", _deeplab_entries("base.", True)),
            Network(
                "DeepLab-v1, the initial weights",
                _deeplab_entries("", False),
                (COUNTERS, _SEGMENTATION_CLASSIFIER),
            ),
        ),
        counters=True,
    ),
    "deeplab-caffe": Family(
        "DeepLab-v2's and -v1's ResNet-101 (.caffemodel)",
        (_caffe_deeplab("DeepLab-v2", True), _caffe_deeplab("DeepLab-v1, the initial weights", False)),
        format="caffe",
        renamed=(r"fc1_\w+_c(\d)\.", r"fc1_c\1."),
    ),
    "vgg16-caffe": Family(
        "DeepLab's VGG-16 (vgg16_20M.caffemodel)", (_caffe_vgg16(),), format="caffe", turned="conv1_1.weight"
    ),
    "torchvision-vgg16": Family("torchvision's VGG-16", (_torchvision_vgg16(),)),
    "torchvision-resnet50": Family("torchvision's ResNet-50", (_imagenet_resnet("ResNet-50"),)),
    "torchvision-resnet101": Family("torchvision's ResNet-101", (_imagenet_resnet("ResNet-101"),)),
    "encoding-resnet101s": Family(
        "PyTorch-Encoding's ResNet-101s", (_imagenet_resnet("ResNet-101", deep_stem=True),)
    ),
    "resnet38-mxnet": Family("ResNet-38, MXNet's own file of model A1", (_MODEL_A1,), format="mxnet"),
}
