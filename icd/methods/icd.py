"""ICD: an intra-class discriminator separates object from not-object inside the images of one class.

Fan, Zhang, Song, Tan, "Learning Integral Objects with Intra-Class Discriminator for Weakly-Supervised Semantic
Segmentation", CVPR 2020. Beyond tags it needs superpixels; saliency only in the seeds' `sal` variant.

Published numbers: seeds 60.2 % mIoU without CRF, 62.2 % with CRF (VOC 2012, the author's re-run of the published code,
js-fan/ICD issue 4; 255 in a prediction is not counted; split not stated there, the script scores train_aug);
segmentation 64.1 / 64.3 % (val / test, tags only), 67.8 / 68.0 % with saliency, ResNet-101.
Command: `python run_icd.py --gpus 0,1`, 20 epochs of 330 steps. `docs/results.md` holds what was measured here.

Bottom-up, a direction per class in feature space splits the cells of single-tag images in two halves; the CAM tells
which half is the object (sign); superpixels clean the result; top-down, a small network learns it and is the output.
Symbols: x features (N, ch, h, w), w directions (C, ch), s score, E sign buffer (C, 2), T refined score, z logit,
y tags (N, C), omega warm-up factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icd.classes import IGNORE
from icd.compat import mx
from icd.errors import InputError
from icd.files import ScoreMaps
from icd.grid import maps_on_image, positive_share
from icd.methods.classification import (
    EMBEDDED,
    MOBILENET_V2,
    ClassifierRecipe,
    FramedMethod,
    HybridBlock,
    TagClassifier,
    TagLoss,
    binary_cross_entropy,
    nn,
)
from icd.recipe import entry
from icd.refine.seeds import CAM_RULE, EPSILON, SeedRule, background_of, seed_without_maps
from icd.trainable import leave_biases_undecayed, set_rates


@dataclass(frozen=True)
class Recipe(ClassifierRecipe):
    """What ICD adds to the classifier's recipe, as published (CVPR 2020, and the code of its authors)."""

    bottom_up_scale: float = entry("weight of the bottom-up loss", 10.0, least=0)
    sign_momentum: float = entry("share of the sign buffer that a step keeps", 0.9, least=0, most=1)
    confidence: float = entry("refined scores, of 1, that the top-down loss counts", 0.2, least=0, most=1)
    warmup_epochs: float = entry("until the top-down loss has its full weight", 2.0, least=0)
    warmup_exponent: float = entry("the loss starts at exp(-this) of its weight", 10.0, least=0)


class Network(HybridBlock):
    """The classification branch (CAM), the bottom-up directions, and the top-down network."""

    def __init__(self, backbone, num_classes, dropout):
        super().__init__(prefix="")
        self.backbone, self.num_classes = backbone, num_classes
        self.classifier = TagClassifier(backbone, num_classes, dropout)
        self.feat_bn = nn.BatchNorm(scale=False, in_channels=backbone.channels, prefix="feat_bn_")
        self.top_down = backbone.make_top(dropout=0.0, pooled=False, suffix="_ft")
        width = backbone.channels + sum(self.top_down.widths)
        self.conv_ft = nn.Conv2D(num_classes, 1, in_channels=width, use_bias=False, prefix="conv_ft_")
        self.icd_bu_weight = self.params.get("icd_bu_weight", shape=(num_classes, backbone.channels))

    def hybrid_forward(self, F, images, icd_bu_weight):
        """Map images (N, 3, S, S) to CAM, bottom-up score s and top-down logit z, each (N, C, h, w)."""
        trunk = self.backbone(images)
        cam = self.classifier(trunk)
        x = self.feat_bn(trunk)
        activations = self.top_down(x)[1:]
        z = self.conv_ft(F.concat(x, *activations, dim=1))
        return cam, self.bottom_up(F, F.BlockGrad(x), icd_bu_weight), z

    def bottom_up(self, F, x, w):
        """``s = w_hat . x`` with ``w_hat = w / sqrt(|w|^2 + 1e-10)``.

        The gradient is the original's, ``g / (|w| + 1e-5) - w (w . g) / (|w|^3 + 1e-5)``, and not quite that of w_hat: the
        difference lies along w and, while ``|w|`` is small, outweighs the weight decay there. `step` is zero and carries it.
        """
        w0 = F.BlockGrad(w)
        square = F.sum(F.square(w0), axis=1, keepdims=True)
        length, step = F.sqrt(square), w - w0
        along = F.broadcast_div(F.sum(w0 * step, axis=1, keepdims=True), length**3 + 1e-5)
        w_hat = F.broadcast_div(w0, F.sqrt(square + 1e-10))
        w_hat = w_hat + F.broadcast_div(step, length + 1e-5) - F.broadcast_mul(w0, along)
        w_hat = F.reshape(w_hat, (0, 0, 1, 1))
        return F.Convolution(x, w_hat, num_filter=self.num_classes, kernel=(1, 1), no_bias=True)


def icd_seed(icd: ScoreMaps, cam: ScoreMaps, saliency=None) -> np.ndarray:
    """The seed of ICD (Fan et al., CVPR 2020), before any CRF.

    Foreground is where a tag's top-down logit A is positive; where several are, the class with the larger product of
    normalised CAM and normalised logit wins. Background is where all logits are negative or, with saliency, where the
    saliency is below 0.01. Pixels that are both or neither are ignored.

    Parameters
    ----------
    icd, cam : ScoreMaps
        Top-down logits A and CAM logits B of the same classes.
    saliency : numpy.ndarray, shape (H, W), uint8, optional

    Returns
    -------
    numpy.ndarray, shape (H, W), uint8
    """
    if not np.array_equal(icd.classes, cam.classes):
        raise InputError(
            "score maps", "the same classes in both", f"{icd.classes.tolist()}, {cam.classes.tolist()}"
        )
    A, B = maps_on_image(icd), maps_on_image(cam)
    if not len(A):
        return seed_without_maps(icd.size, saliency)
    f = positive_share(A)
    proposal = f > EPSILON
    foreground = proposal.any(0)
    winner = proposal.argmax(0)
    undecided = np.zeros_like(foreground)
    if len(A) > 1:
        q = _normalized_over_stack(np.maximum(B, 0)) * f
        winner = np.where(proposal.sum(0) > 1, q.argmax(0), winner)
        undecided = foreground & (q.max(0) - q.min(0) <= EPSILON)
    b = np.minimum(A, 0) / np.minimum(A.min((1, 2), keepdims=True), -EPSILON)
    background = background_of((b > EPSILON).all(0), saliency)
    seed = (icd.classes[winner]).astype(np.uint8)
    seed[background] = 0
    seed[~(background ^ foreground) | undecided] = IGNORE
    return seed


def _normalized_over_stack(maps: np.ndarray) -> np.ndarray:
    """Over the whole stack, so that the strength of one class against another is kept."""
    maps = maps - maps.min()
    return maps / max(maps.max(), EPSILON)


def _icd_rule(maps, saliency=None, companion=None, threshold=None):
    return icd_seed(maps, companion, saliency)


ICD_RULE = SeedRule("icd", _icd_rule, "none", companion="cam")


class ICD(FramedMethod):
    """The network with its sign buffer and warm-up: parameters without gradient, so checkpoints hold them."""

    backbone = "vgg16"
    recipes = {"voc": Recipe(), "mobilenet_v2": Recipe(**MOBILENET_V2), "embedded": Recipe(**EMBEDDED)}
    needs = ("superpixel",)
    score_maps = {"cam": CAM_RULE, "icd": ICD_RULE}

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        if not backbone.corner_aligned:
            found = type(backbone).__name__
            raise InputError("backbone of icd", "one whose cells lie on pixels", found, "Take vgg16.")
        self.network = Network(backbone, num_classes, recipe.dropout)
        self.sign_buffer = self.add_state("icd_accum_resign_moving_mean", (num_classes, 2))
        self.warmup = self.add_state("icd_td_warmup", (2,), published=False)
        network = self.network
        pretrained = (network.backbone, network.classifier)
        set_rates(self, pretrained, (network.classifier.fc8, network.conv_ft))
        leave_biases_undecayed(self)
        self.sign_statistics = SignStatistics(prefix="")
        self.refinement = SuperpixelRefinement(backbone.stride)
        self.tag_loss = TagLoss()
        self.bottom_up_loss = BottomUpLoss(recipe.bottom_up_scale)
        self.top_down_loss = TopDownLoss(recipe.confidence)

    def start(self):
        """Make the top-down layers copies of the classifier's (fc6_ft = fc6, fc7_ft = fc7)."""
        copies = self.network.top_down.collect_params().values()
        for target, source in zip(copies, self.network.classifier.top.collect_params().values()):
            target.set_data(source.data())

    def prepare(self, num_images, batch_size):
        """Set the warm-up to its length W; the counter stands one above it before the first step."""
        steps = int(self.recipe.warmup_epochs * num_images) // batch_size
        self.warmup.set_data(mx.nd.array([steps + 1, max(steps, 1)]))

    def gather(self, outputs, parts, world):
        """Move the sign buffer by the statistics of the whole batch, and count the warm-up down."""
        sums = [self.sign_statistics(cam, s, part["label"]) for (cam, s, _), part in zip(outputs, parts)]
        total = world.sum([value for value, _ in sums])
        count = world.sum([value for _, value in sums]).reshape((-1, 1))
        home = total.context
        E = self.sign_buffer.data(home)
        absent = mx.nd.broadcast_lesser(count, 0.999 * mx.nd.ones_like(E))
        m = mx.nd.where(absent, E, total / mx.nd.maximum(count, 1e-5))
        momentum = self.recipe.sign_momentum
        warmup = self.warmup.data(home)
        self.sign_buffer.set_data(momentum * E + (1 - momentum) * m)
        self.warmup.set_data(mx.nd.concat(mx.nd.maximum(warmup[0:1] - 1, 0), warmup[1:2], dim=0))
        return {}

    def losses(self, outputs, part, gathered):
        """The three losses of the paper: `cam`, `bottom_up`, `top_down` (the latter warmed up)."""
        cam, s, z = outputs
        label = part["label"]
        T = self.refinement(self.rectify(s), part["superpixel"], part["regions"], label)
        return {
            "cam": self.tag_loss(cam, label),
            "bottom_up": self.bottom_up_loss(s, label),
            "top_down": self.warmup_factor(z.context) * self.top_down_loss(z, T, label),
        }

    def warmup_factor(self, context):
        """omega = exp(-10 r / W), with r steps of W left: from 4.5e-5 to 1."""
        remaining, steps = self.warmup.data(context)
        return mx.nd.exp(-self.recipe.warmup_exponent * remaining / steps)

    def rectify(self, s):
        """Give the score its sign: -1 where the CAM is weaker on the positive side, E+ < E-."""
        E = self.sign_buffer.data(s.context)
        sign = 1 - 2 * (E[:, 0] < E[:, 1])
        return mx.nd.BlockGrad(s) * sign.reshape((1, -1, 1, 1))

    def localize(self, images):
        """The CAM and the top-down logit, both raw."""
        cam, _, z = self.network(images)
        return {"cam": cam, "icd": z}


class BottomUpLoss(HybridBlock):
    """L_bu = -(scale / 2 / (h w)) sum over single-tag images of y s^2: pushes w to the leading direction of x."""

    def __init__(self, scale):
        super().__init__(prefix="")
        self.scale = scale

    def hybrid_forward(self, F, s, label):
        """Map the score (N, C, h, w) and tags (N, C) to the loss (1,)."""
        single = F.sum(label, axis=1, keepdims=True) < 1.001
        energy = F.mean(F.square(s), axis=(2, 3))
        return -self.scale / 2 * F.sum(F.broadcast_mul(label, single) * energy)


class SignStatistics(HybridBlock):
    """Mean positive CAM on either side of the score, summed over the images that have the class."""

    def hybrid_forward(self, F, cam, s, label):
        """Return sums over images, (C, 2) for s > 0 and s < 0, and the number of images with the class, (C,)."""
        cam, s, sides = F.relu(F.BlockGrad(cam)), F.BlockGrad(s), []
        for side in (s > 0, s < 0):
            count = F.sum(side, axis=(2, 3))
            mean = F.sum(cam * side, axis=(2, 3)) / F.maximum(count, 1e-5)
            sides.append(F.sum(mean * label, axis=0))
        return F.stack(*sides, axis=1), F.sum(label, axis=0)


class SuperpixelRefinement(HybridBlock):
    """One score a superpixel, positive for at most one class.

    A superpixel is foreground if most of its cells are positive for some class; it then belongs to the class that is
    the strongest on average, after normalisation across classes at each cell.
    """

    def __init__(self, stride):
        super().__init__(prefix="")
        self.stride = stride

    def hybrid_forward(self, F, score, superpixel, regions, label):
        """Refine rectified scores.

        `score` (N, C, h, w), `superpixel` (N, S, S) ids, `regions` arange(K), `label` (N, C) -> T (N, C, h, w).
        """
        # Corner-aligned sampling: the cell (i, j) lies on the pixel (stride i, stride j).
        ids = F.slice(
            superpixel, begin=(0, None, None), end=(None, None, None), step=(1, self.stride, self.stride)
        )
        member = F.broadcast_equal(F.reshape(ids, (0, 1, -1)), F.reshape(regions, (1, -1, 1)))
        size = F.maximum(F.sum(member, axis=2), 1).expand_dims(1)
        y = label.expand_dims(2)
        v = F.broadcast_mul(F.reshape(score, (0, 0, -1)), y)

        def region_mean(values):
            return F.broadcast_div(F.batch_dot(values, member, transpose_b=True), size)

        vote = F.batch_dot(F.sign(v), member, transpose_b=True)
        foreground = F.max(vote, axis=1, keepdims=True) > 1e-5
        positive = F.relu(v)
        u = F.broadcast_div(positive, F.maximum(F.max(v, axis=1, keepdims=True), 1e-5))
        mean_u = region_mean(u)
        winner = F.broadcast_equal(F.expand_dims(F.argmax(mean_u, axis=1), 1), _class_index(F, mean_u))
        is_object = F.broadcast_mul(F.broadcast_mul(winner, foreground), y)
        t = F.where(is_object, region_mean(positive), region_mean(F.minimum(v, 0)))
        return F.reshape_like(F.batch_dot(t, member), score)


def _class_index(F, values):
    """The class number of every entry of (N, C, K)."""
    return F.cumsum(F.ones_like(values), axis=1) - 1


class TopDownLoss(HybridBlock):
    """L_td = (1 / (h w)) sum of y M BCE(z, t) on the confident cells of the refined score."""

    def __init__(self, confidence):
        super().__init__(prefix="")
        self.confidence = confidence

    def hybrid_forward(self, F, z, T, label):
        """Map logits z and refined scores T (N, C, h, w) and tags (N, C) to the loss (1,)."""
        T = F.BlockGrad(T)
        highest = F.maximum(F.max(T, axis=(2, 3), keepdims=True), 1e-5)
        lowest = F.minimum(F.min(T, axis=(2, 3), keepdims=True), -1e-5)
        s_hat = F.broadcast_div(F.relu(T), highest) - F.broadcast_div(F.minimum(T, 0), lowest)
        M = F.abs(s_hat) > self.confidence
        per_class = F.mean(M * binary_cross_entropy(F, z, s_hat > 0), axis=(2, 3))
        return F.sum(per_class * label)
