"""SEAM: two views of an image must have the same maps, and maps spread to pixels that look alike.

Wang, Zhang, Kan, Shan & Chen, "Self-supervised Equivariant Attention Mechanism for Weakly Supervised Semantic Segmentation",
CVPR 2020. Beyond tags it needs nothing.

Published numbers, VOC 2012 train, mIoU %: CAM 55.41, with CRF 56.83, after AffinityNet's random walk 63.61; ResNet-38
DeepLab 64.5 on val. Time: 10,576 steps of 8 images of 448 x 448, on the authors' four GPUs. Command: `icd run seam`.

A step sees every image twice, whole and shrunk. The second output of the network is the first one, cleaned, averaged over
all pixels by how alike they are (PCM, the pixel correlation module). Symbols (spec seam 2 and 3): c activation maps, r the
maps behind the PCM, z the cleaned maps, A affinities, y tags with a 1 for the background, O what is left of maps when only
the strongest class of every pixel is kept.

On other backbones than ResNet-38 the PCM looks at the two taps before the last, resized to the last one's grid, and keeps
its published widths.
"""

from __future__ import annotations

from dataclasses import dataclass

from icd.backbones.base import imagenet_normalised, new_convolution, resize_like
from icd.data.augment import LongSideCrop
from icd.data.views import Pyramid
from icd.methods.classification import (
    MOBILENET_V2_LONG_SIDE,
    HybridBlock,
    TagClassifier,
    TagLoss,
    complement,
    join_background,
    only_strongest,
    resize,
    split_background,
)
from icd.methods.seam_losses import (
    EPSILON,
    classes_of,
    minimum_pooling,
    regularization,
    tag_selection,
    tagged,
    with_mean_of,
)
from icd.recipe import BaseRecipe, entry
from icd.refine.seeds import share_rule
from icd.trainable import Method, set_rates

BLOCKS = 32  # in which the PCM is computed in localization: a 32nd of a gigabyte for a photograph of 500 pixels at scale 2


@dataclass(frozen=True)
class Recipe(BaseRecipe):
    """The published hyper-parameters. The momentum is not a slip: see spec resnet38 5."""

    image_size: int = 448
    batch_size: int = 8
    num_epoch: int = 8
    learning_rate: float = 0.01
    momentum: float = 5e-4
    weight_decay: float = 5e-4
    shortest: int = entry("least long side of an image in training", 448, least=1)
    longest: int = entry("largest long side of an image in training", 768, least=1)
    infer_scales: tuple = entry("of the image in localization", (0.5, 1.0, 1.5, 2.0), least=0.01)
    dropout: float = entry("probability before the classifier, of whole channels", 0.5, least=0, most=1)
    second_view: float = entry("side of the second view: a share of the first's, or pixels", 0.3, least=0.01)
    hard_share: float = entry("share of ECR's largest differences that count", 0.2, least=0.001, most=1)
    least_share: float = entry("share of the pixels that minimum pooling takes", 0.25, least=0.001, most=1)


EMBEDDED = {
    "image_size": 129,
    "num_epoch": 12,
    "learning_rate": 0.1,
    "shortest": 120,
    "longest": 200,
    "dropout": 0.0,
    "second_view": 0.5,
}


# The network


class PixelCorrelation(HybridBlock):
    """PCM: every pixel's maps become the mean over all pixels, weighted by how alike they look (spec seam 2.1).

    It gives no gradient to the maps and taps that it gets.
    """

    def __init__(self, shallow, deep, stride):
        super().__init__(prefix="")
        self.resizes = shallow.stride != stride, deep.stride != stride
        self.f8_3 = new_convolution("f8_3", shallow.channels, 64)
        self.f8_4 = new_convolution("f8_4", deep.channels, 128)
        self.f9 = new_convolution("f9", 3 + 64 + 128, 192, gain=4)

    def hybrid_forward(self, F, z, shallow, deep, images):
        """Map cleaned maps z (N, K, h, w), two taps and normalised images (N, 3, H, W) to r (N, K, h, w)."""
        return self.spread(F, z, shallow, deep, images, 1)

    def spread(self, F, z, shallow, deep, images, blocks: int):
        """The same in some number of blocks of pixels, each with a share of the affinities."""
        return correlate(F, z, self.embed(F, self.describe(F, z, shallow, deep, images)), blocks)

    def describe(self, F, grid, shallow, deep, images):
        """Colour and two compressed taps (N, 195, h, w) on a grid."""
        shallow, deep = (
            resize_like(F, F.BlockGrad(tap), grid) if resized else F.BlockGrad(tap)
            for tap, resized in zip((shallow, deep), self.resizes)
        )
        return F.concat(
            resize_like(F, images, grid), F.relu(self.f8_3(shallow)), F.relu(self.f8_4(deep)), dim=1
        )

    def embed(self, F, features):
        """Directions (N, 192, h, w), of length 1 or a little less."""
        e = self.f9(features)
        # 1e-24 changes no length, but a length of 0 would have no derivative.
        length = F.sqrt(F.sum(F.square(e), axis=1, keepdims=True) + 1e-24)
        return F.broadcast_div(e, length + EPSILON)


def correlate(F, z, e, blocks: int = 1):
    """r_j = sum_i z_i A_ij with A = relu(e^T e), its columns divided by (their sums + 1e-5).

    Parameters
    ----------
    z, e : NDArray or Symbol, shape (N, K, h, w) and (N, D, h, w)
    blocks : int
        1: all columns j at once, with h w times h w numbers a sample. B: every B-th column, and B times; each time a B-th
        of the numbers. Rounding apart the result is the same.

    Returns
    -------
    NDArray or Symbol, shape (N, K, h, w)
    """
    flat, e = F.reshape(z, (0, 0, -1)), F.reshape(e, (0, 0, -1))
    if blocks == 1:
        return F.reshape_like(_columns(F, flat, e, e), z)
    # B - 1 columns more, and every block has as many.
    padded = F.concat(e, F.tile(F.slice_axis(e, axis=2, begin=0, end=1), reps=(1, 1, blocks - 1)), dim=2)
    parts = []
    for first in range(blocks):
        end = first - blocks + 1 or None
        chosen = F.slice(padded, begin=(None, None, first), end=(None, None, end), step=(1, 1, blocks))
        parts.append(_columns(F, flat, e, chosen))
    r = F.reshape(F.stack(*parts, axis=3), (0, 0, -1))
    return F.reshape_like(F.slice_like(r, flat, axes=(2,)), z)


def _columns(F, z, e, chosen):
    """Some columns of r: z (N, K, h w), e (N, D, h w), the columns' own directions (N, D, b)."""
    A = F.relu(F.batch_dot(e, chosen, transpose_a=True))
    return F.broadcast_div(F.batch_dot(z, A), F.sum(A, axis=1, keepdims=True) + EPSILON)


def cleaned(F, cam, place: str):
    """z: shares of the maximum, in every pixel of its strongest class only, and what is left for the background.

    Without gradient, and without regard to tags, as published: also an absent class reaches 1 somewhere.
    """
    cam = F.relu(F.BlockGrad(cam))
    cam = F.broadcast_div(F.relu(cam - EPSILON), F.max(cam, axis=(2, 3), keepdims=True) + EPSILON)
    _, classes = split_background(F, cam, place)
    return join_background(F, complement(F, classes), only_strongest(F, classes), place)


class Network(HybridBlock):
    """A backbone, a classifier with a background channel and the PCM; calling it shows it both views of the images.

    Parameters
    ----------
    recipe : Recipe
    background : {"first", "last"}
        Which channel it is.
    """

    def __init__(self, backbone, num_classes, recipe, background):
        super().__init__(prefix="")
        self.backbone, self.background, self.side = backbone, background, recipe.second_view
        self.classifier = TagClassifier(backbone, num_classes + 1, recipe.dropout, pooled=False, bias=False)
        self.correlated = list(backbone.taps)[-3:-1]
        self.correlation = PixelCorrelation(
            *(backbone.taps[name] for name in self.correlated), backbone.stride
        )

    def hybrid_forward(self, F, images):
        """Map images (N, 3, H, W) to c and r, each (N, 1 + C, h, w), of the first view and then of the second."""
        return [*self.view(F, images), *self.view(F, self.shrunk(F, images))]

    def view(self, F, images) -> list:
        """c and r of one view."""
        taps, hidden = self.features(F, images)
        cam = self.classifier.fc8(hidden)
        return [cam, self.refined(F, cam, taps, images)]

    def features(self, F, images):
        """All taps, and what the classifier sees."""
        taps = self.backbone.forward_taps(F, images)
        return taps, self.classifier.top(list(taps.values())[-1])[0]

    def refined(self, F, cam, taps, images, blocks: int = 1):
        """r of c."""
        z = cleaned(F, cam, self.background)
        shallow, deep = (taps[name] for name in self.correlated)
        return self.correlation.spread(F, z, shallow, deep, imagenet_normalised(F, images), blocks)

    def shrunk(self, F, images):
        """The second view of images, also of those that are normalised already."""
        if self.side < 1:
            options = {"scale_height": self.side, "scale_width": self.side}
        else:
            options = {"height": int(self.side), "width": int(self.side)}
        return F.contrib.BilinearResize2D(images, align_corners=True, **options)

    def second_size(self, size) -> tuple:
        """Height and width of the second view of images of a size."""
        return tuple(int(n * self.side) if self.side < 1 else int(self.side) for n in size)


class Localization(HybridBlock):
    """r of one view without its background; the PCM works in blocks."""

    def __init__(self, network):
        super().__init__(prefix="")
        # Not the network itself, which may have layers that only training needs.
        for block in (network.backbone, network.classifier, network.correlation):
            self.register_child(block)
        self._network = lambda: network

    def hybrid_forward(self, F, images):
        """Map images (N, 3, H, W) to maps (N, C, h, w)."""
        network = self._network()
        taps, hidden = network.features(F, images)
        r = network.refined(F, network.classifier.fc8(hidden), taps, images, BLOCKS)
        return split_background(F, r, network.background)[1]


# The method


SEAM_RULE = share_rule("seam", 0.26)._replace(policy="fixed 0.26 of the range")


class SEAM(Method):
    """The network with its four losses; the maps behind the PCM are the result."""

    backbone = "resnet38"
    recipes = {
        "voc": Recipe(),
        "mobilenet_v2": Recipe(**MOBILENET_V2_LONG_SIDE, second_view=0.5),
        "embedded": Recipe(**EMBEDDED),
    }
    score_maps = {"seam": SEAM_RULE}
    alignment, normalization = "views", "range"
    background = "first"
    make_network, make_localization = Network, Localization

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        self.network = self.make_network(backbone, num_classes, recipe, self.background)
        self.localization = self.make_localization(self.network)
        set_rates(self, self.network._children.values(), self.new_layers())
        self.tag_loss = TagLoss(average=True)

    def new_layers(self) -> tuple:
        """The blocks that no pretrained file knows."""
        return self.network.classifier.fc8, self.network.correlation

    @staticmethod
    def augmentation(recipe):
        """A random long side, mirror, colours, crop."""
        return LongSideCrop(recipe.image_size, recipe.shortest, recipe.longest)

    @staticmethod
    def presentation(recipe, infer_size):
        """All scales of the recipe, each with its mirror image."""
        return Pyramid(tuple(recipe.infer_scales))

    def losses(self, outputs, part, gathered):
        """Tags and minimum pooling, each the mean over the views, ER and ECR; maps have the size of their view."""
        label, sizes = part["label"], self.sizes(outputs, part["image"].shape[2:])
        selection = tag_selection(label, first_class=self.untouched != self.background)
        views = [
            [resize(tagged(maps, selection, self.background), size) for maps in view[:2]]
            for view, size in zip(halves(outputs), sizes)
        ]
        er, ecr = regularization(
            *views, label.shape[1], self.recipe.hard_share, self.background, self.untouched
        )
        share = self.recipe.least_share
        return {
            "cam": sum(self.tag_loss_of(view[0], size, label) for view, size in zip(halves(outputs), sizes))
            / 2,
            "minimum": sum(minimum_pooling(maps, share, self.background) for _, maps in views) / 2,
            "equivariance": er,
            "cross_equivariance": ecr,
        }

    @property
    def untouched(self) -> str:
        """The plane that O leaves as it is in ECR."""
        return self.background

    def sizes(self, outputs, size) -> tuple:
        """Of c and r of each view, as the losses see them: those of the view; `size` is the first's."""
        return size, self.network.second_size(size)

    def tag_loss_of(self, cam, size, label):
        """The tag loss of c made as large as `size`."""
        return self.tag_loss(with_mean_of(classes_of(cam, self.background), size), label)

    def localize(self, images):
        """r, 0..1 before its maximum is made 1."""
        return {self.result: self.localization(images)}

    @property
    def result(self) -> str:
        """The name of the score maps."""
        return next(iter(self.score_maps))


def halves(outputs: list) -> tuple:
    """What the network gave for the first view, and for the second."""
    half = len(outputs) // 2
    return outputs[:half], outputs[half:]
