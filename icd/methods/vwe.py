"""VWE and VWL: visual words, finer than classes, make the network represent more of an object than what tells its class.

Ru, Du & Wu, "Learning Visual Words for Weakly-Supervised Semantic Segmentation", IJCAI 2021 (VWE); Ru, Du, Zhan & Wu,
"Weakly-Supervised Semantic Segmentation with Visual Words Learning and Hybrid Pooling", IJCV 2022 (VWL-L with a learnable
codebook, VWL-M with a memory bank). Need tags only.

Published numbers: CAM on VOC 2012 train / val: VWL-M 56.9 / 56.4 %, VWL-L 57.3 / 56.9 %. Segmentation, DeepLab-v2 on
ResNet-101, VOC val / test: VWE 67.2 / 67.3 %, VWL-M 68.7 / 69.2 %, VWL-L 69.2 / 69.2 %; COCO 2014 val 36.1 and 36.2 %.
Time: 3,966 steps of 16 images at 512 x 512. Commands: `icd run vwe`, `icd run vwl_l`, `icd run vwl_m`.

Every cell of the features belongs to the word of the codebook that is the most similar. The words of an image are a second,
finer set of labels, which the features must predict; and their histogram predicts the tags, which is what trains the
codebook. VWL-M has a codebook that follows the mean features of its words instead.
Symbols (spec vwe 2): x features (N, ch, h, w), C codebook (k, ch), P soft assignment (N, k, h, w), rho share of the bank
that a step replaces, gamma weight of the mean in hybrid pooling.

The published program of VWL-M stops in its first step: it hands the soft assignment to what needs the numbers of the words.
Here it gets these, as evidently meant (spec vwe 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from icd.compat import mx
from icd.files import LabelStack
from icd.grid import maps_on_image, share_of_maximum
from icd.methods.classification import MOBILENET_V2_LONG_SIDE, HybridBlock
from icd.methods.irn_cam import EMBEDDED, IRNCAM, uniform_convolution
from icd.methods.irn_cam import Recipe as CAMRecipe
from icd.recipe import entry
from icd.refine.crf import dense_crf
from icd.refine.seeds import share_rule

VWE_RULE = share_rule("vwe", 0.14)  # spec vwe 6
VWL_RULE = share_rule("vwl", 0.13)
CRF_BACKGROUND = 0.15  # spec vwe 5
LEAST_LENGTH = 1e-12
LEAST_COUNT = 1e-4


@dataclass(frozen=True)
class BaselineRecipe(CAMRecipe):
    """What VWE and VWL train with, and their pooling."""

    num_epoch: int = 6
    learning_rate: float = 0.01
    levels: tuple = entry("hybrid pooling: maxima are taken over 1 / level of each side", (1, 2, 4), least=1)
    mean_weight: float = entry("gamma: weight of the mean in hybrid pooling", 2.0, least=0)


@dataclass(frozen=True)
class Recipe(BaselineRecipe):
    """What makes VWE of the baseline."""

    words: int = entry("k: words of the codebook", 256, least=2)
    codebook: str = entry(
        "what moves it: gradients or mean features", "learned", choices=("learned", "memory")
    )
    decorrelation: float = entry("weight of the decorrelation of words", 0.0, least=0)
    bank_rate: float = entry("rho: share of a memory bank that a step replaces", 1e-3, least=0, most=1)


# VWL-M trains layer1 and layer2 too: in its program the detaching is commented out (spec vwe 2.2).
MEMORY = {"codebook": "memory", "frozen": "stem"}
EMBEDDED_WORDS = {**EMBEDDED, "words": 64}


# Hybrid pooling gives features several times as large as their mean: at EPS's rate, 0.1, the baseline's loss stays at 0.2 for an
# epoch, at this one it falls to 0.12 within fifty steps (docs/results.md).
MOBILENET_V2 = {**MOBILENET_V2_LONG_SIDE, "learning_rate": 0.02}


class HybridPoolingBaseline(IRNCAM):
    """VWE's own baseline: its network, pooling, data, schedule and inference, without the two terms of words."""

    recipes = {
        "voc": BaselineRecipe(),
        "mobilenet_v2": BaselineRecipe(**MOBILENET_V2),
        "embedded": BaselineRecipe(**EMBEDDED),
    }
    score_maps = {"cam": VWE_RULE}
    mirror_fusion = "max"
    frame_multiple = 1

    def pool(self, x):
        """Hybrid pooling."""
        return hybrid_pooling(x, self.recipe.levels, self.recipe.mean_weight)


def hybrid_pooling(x, levels=(1, 2, 4), mean_weight=2.0):
    """Hybrid spatial pyramid pooling: gamma times the mean plus, for every level, the mean of local maxima.

    A level's maxima are taken over non-overlapping cells of floor(h / level) x floor(w / level), at least 1; what does not
    fill a cell is left out (spec vwe 2.4; the original fails where a side is below the level).

    Parameters
    ----------
    x : NDArray, shape (N, ch, h, w)
    levels : tuple of int
    mean_weight : float
        gamma.

    Returns
    -------
    NDArray, shape (N, ch, 1, 1)
    """
    axes = {"axis": (2, 3), "keepdims": True}
    total = mean_weight * x.mean(**axes)
    for level in levels:
        cell = tuple(max(1, side // level) for side in x.shape[2:])
        total = total + mx.nd.Pooling(x, kernel=cell, stride=cell, pool_type="max").mean(**axes)
    return total / (mean_weight + len(levels))


class Output(NamedTuple):
    """Of the trainable on n images: features x (n, ch, h, w), the sum of P over the cells (n, k), words of the cells (n, h, w)."""

    features: object
    histogram: object
    words: object


class VWE(HybridPoolingBaseline):
    """The network with its codebook, learned or a memory bank.

    The codebook is (k, ch, 1, 1), as the published checkpoints hold the learned one.
    """

    recipes = {
        "voc": Recipe(),
        "mobilenet_v2": Recipe(**MOBILENET_V2),
        "embedded": Recipe(**EMBEDDED_WORDS),
    }
    score_maps = {"vwe": VWE_RULE}

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        channels, k = self.network.channels, recipe.words
        self.fc_a = uniform_convolution("fc_a", num_classes, k)
        self.fc_b = uniform_convolution("fc_b", k, channels)
        self.fc_a.weight.lr_mult = self.fc_b.weight.lr_mult = recipe.new_layer_multiplier
        self.encoder, self.word_sums = WordEncoder(k), WordSums(k)
        self.decorrelation_loss = DecorrelationLoss()
        self.spread_of_words = (3 * channels) ** -0.5
        shape = (k, channels, 1, 1)
        self.bank_filled = None
        if recipe.codebook == "memory":
            self.codebook = self.add_state("codebook", shape, published=False)
            self.bank_filled = self.add_state("codebook_filled", (1,), published=False)
            self.fc_a.weight.grad_req = "null"  # its loss is not minimised
        else:
            init = mx.init.Normal(self.spread_of_words)
            self.codebook = self.params.get("VWE_centroid", shape=shape, init=init)
            self.codebook.lr_mult = recipe.new_layer_multiplier

    def start(self):
        """Draw a memory bank like a learned codebook: the first step's words are those of a random bank."""
        if self.bank_filled is not None:
            self.codebook.set_data(mx.nd.random.normal(0, self.spread_of_words, self.codebook.shape))

    def forward(self, images):
        """Run the network, and find the words of its features."""
        x = self.network(images)
        return Output(x, *self.encoder(x, self.codebook.data(x.context)))

    def gather(self, outputs, parts, world):
        """Move a memory bank to the mean features of its words in the whole batch."""
        if self.bank_filled is not None:
            sums = [self.word_sums(x, words) for x, _, words in outputs]
            total, count = (world.sum(list(of_device)) for of_device in zip(*sums))
            home, rho = total.context, self.recipe.bank_rate
            if self.bank_filled.data(home).asscalar():
                mean = (total / (count + LEAST_COUNT)).reshape(self.codebook.shape)
                self.codebook.set_data(rho * mean + (1 - rho) * self.codebook.data(home))
            else:  # what the first step's means give is overwritten by features of its cells
                cells = [x.transpose((0, 2, 3, 1)).reshape((-1, x.shape[1])) for x, _, _ in outputs]
                cells = world.concat(cells)
                picked = self.pick(len(cells), world).as_in_context(home)
                self.codebook.set_data(cells.take(picked).reshape(self.codebook.shape))
                self.bank_filled.set_data(mx.nd.ones(1))
        return {}

    def pick(self, count: int, world):
        """The number of one of `count` cells for every word, the same in every process."""
        mine = mx.nd.random.uniform(0, count, self.recipe.words).floor() * (world.rank == 0)
        return mx.nd.minimum(world.sum([mine]), count - 1)

    def losses(self, outputs, part, gathered):
        """The tag loss and the two terms of words; VWL-L's decorrelation; VWL-M's histogram trains nothing."""
        x, label = outputs.features, part["label"]
        terms = super().losses(x, part, gathered)
        if self.bank_filled is None:
            terms["word_to_image"] = self.tag_loss(self.classes_of_words(outputs.histogram), label)
        logit = self.fc_b(x.mean(axis=(2, 3), keepdims=True))
        terms["word"] = self.tag_loss(logit, present_words(outputs.words, self.recipe.words))
        if self.recipe.decorrelation:
            loss = self.decorrelation_loss(self.codebook.data(x.context))
            terms["decorrelation"] = self.recipe.decorrelation * len(x) * loss
        return terms

    def classes_of_words(self, histogram):
        """The logits of the classes that a histogram of words (n, k) gives, (n, C, 1, 1)."""
        return self.fc_a(histogram.expand_dims(2).expand_dims(3))


class VWLL(VWE):
    """VWL-L: VWE with words that are kept apart, on ResNet-101."""

    backbone = "resnet101"
    recipes = {
        "voc": Recipe(decorrelation=1.0),
        "mobilenet_v2": Recipe(**MOBILENET_V2, decorrelation=1.0),
        "embedded": Recipe(**EMBEDDED_WORDS, decorrelation=1.0),
    }
    score_maps = {"vwl": VWL_RULE}


class VWLM(VWE):
    """VWL-M: VWE with a memory bank, on ResNet-101."""

    backbone = "resnet101"
    recipes = {
        "voc": Recipe(**MEMORY),
        "mobilenet_v2": Recipe(**MOBILENET_V2, **MEMORY),
        "embedded": Recipe(**EMBEDDED_WORDS, codebook="memory"),
    }
    score_maps = {"vwl": VWL_RULE}


class WordEncoder(HybridBlock):
    """The words of features: cosine similarity with every word, softmax over the words (spec vwe 2.5).

    The features are detached. So the histogram trains the codebook and what is behind it, nothing else.
    """

    def __init__(self, words):
        super().__init__(prefix="")
        self.words = words

    def hybrid_forward(self, F, x, codebook):
        """Map x (N, ch, h, w) and the codebook (k, ch, 1, 1) to the histogram (N, k) and the words of the cells (N, h, w)."""
        P = self.assign(F, x, codebook)
        return F.sum(P, axis=(2, 3)), F.argmax(F.BlockGrad(P), axis=1)

    def assign(self, F, x, codebook):
        """P, (N, k, h, w)."""
        x_hat, c_hat = unit(F, F.BlockGrad(x)), unit(F, codebook)
        similarity = F.Convolution(
            F.BlockGrad(x_hat), c_hat, num_filter=self.words, kernel=(1, 1), no_bias=True
        )
        return F.softmax(similarity, axis=1)


def unit(F, vectors):
    """Vectors along axis 1, with length 1."""
    length = F.sqrt(F.sum(F.square(vectors), axis=1, keepdims=True))
    return F.broadcast_div(vectors, F.maximum(length, LEAST_LENGTH))


def present_words(words, k: int):
    """1 for every word that some cell has, (N, k); `words` (N, h, w)."""
    # Detached, because MXNet crashes in the backward pass through argmax and one_hot.
    return mx.nd.one_hot(words.detach().reshape((0, -1)), k).max(axis=1)


class WordSums(HybridBlock):
    """The features of every word, summed over all cells, and how many cells these are."""

    def __init__(self, words):
        super().__init__(prefix="")
        self.words = words

    def hybrid_forward(self, F, x, words):
        """Map x (N, ch, h, w) and words (N, h, w) to sums (k, ch) and counts (k, 1)."""
        member = F.one_hot(F.reshape(words, (0, -1)), depth=self.words)
        cells = F.reshape(x, (0, 0, -1))
        sums = F.batch_dot(member, cells, transpose_a=True, transpose_b=True)
        return F.sum(sums, axis=0), F.expand_dims(F.sum(member, axis=(0, 1)), 1)


class DecorrelationLoss(HybridBlock):
    """``L_decov = (|G| - |diag G|) / 2`` with G = M M', M the codebook with every word's mean subtracted (spec vwe 3)."""

    def hybrid_forward(self, F, codebook):
        """Map the codebook (k, ch, 1, 1) to the loss (1,)."""
        words = F.flatten(codebook)
        M = F.broadcast_sub(words, F.mean(words, axis=1, keepdims=True))
        G = F.dot(M, M, transpose_b=True)
        place = F.contrib.arange_like(words, axis=0)
        apart = F.broadcast_not_equal(F.expand_dims(place, 1), F.expand_dims(place, 0))
        # sqrt(a + b) - sqrt(a) = b / (sqrt(a + b) + sqrt(a)) keeps its digits where b is small against a.
        a = F.sum(F.square(F.sum(F.square(M), axis=1)))
        b = F.sum(F.square(G * apart))
        return b / (F.sqrt(a + b) + F.sqrt(a)) / 2


def crf_probabilities(scores, image, background=CRF_BACKGROUND, backend="native", threads=0) -> LabelStack:
    """The CRF variant of VWL's CAM: a constant background, softmax over all labels, dense CRF "vwe" (spec vwe 5).

    Parameters
    ----------
    scores : icd.files.ScoreMaps
    image : numpy.ndarray, shape (H, W, 3), uint8
        RGB.
    background : float
        Share of a class's maximum that the background has everywhere.
    backend : {"native", "pydensecrf"}
    threads : int
        0: all cores.

    Returns
    -------
    LabelStack
        Probabilities, float32; `mask()` is the published result.
    """
    shares = share_of_maximum(maps_on_image(scores))
    planes = np.concatenate([np.full_like(shares[:1], background), shares])
    powers = np.exp(planes)
    unary = -np.log(powers / powers.sum(0))
    probabilities = dense_crf(image, unary, "vwe", backend=backend, threads=threads)
    return LabelStack(np.concatenate([[0], scores.classes]).astype(np.int16), probabilities)
