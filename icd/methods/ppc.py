"""PPC: every pixel is drawn to the prototype of its class, in the other view and in its own; on SEAM and on EPS.

Du, Fu, Liu & Wang, "Weakly Supervised Semantic Segmentation by Pixel-to-Prototype Contrast", CVPR 2022. On SEAM it needs
tags, on EPS saliency maps too (the authors': PFAN).

Published numbers, mIoU % (README of usr922/wseg, medians of three runs), on SEAM: VOC 2012 train 61.5, val 58.4, after
AffinityNet's walk 69.2, DeepLab-v1 67.7 on val. On EPS: train 70.5, DeepLab-v1 72.3 and -v2 72.6 on val. Users who trained
on SEAM again got 54.6 to 55.8, and the released checkpoint gives 51.85 (spec ppc 12): nobody has confirmed 61.5. Time: 10,576
steps on SEAM, 20,000 on EPS. Commands: `icd run ppc`, `icd run ppc_eps --saliency-root DIR`.

Both baselines see every image twice (`icd.methods.seam`). A projection of the features is contrasted on a small grid. Symbols
(spec ppc 5): f projections, v the same of length 1, u PCM's maps stretched to their range, y pseudo labels, P prototypes, tau
the temperature, K how many pixels make a prototype, l the intra-view loss of a pixel.

Prototypes, pseudo labels and hard pixels belong to the whole batch: they are found on the host, where equal values have an
order, that of the pixels (MXNet's sorting has none). So the background's prototype, whose u is constant, is made of the first
K pixels, as published.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from icd.compat import mx
from icd.grid import share_of_range
from icd.methods import eps, seam
from icd.methods.classification import MOBILENET_V2_LONG_SIDE, HybridBlock, nn, resize, split_background
from icd.methods.seam import SEAM_RULE, halves
from icd.recipe import entry
from icd.refine.seeds import share_rule

EASIEST, HARDEST = 0.1, 0.6  # semi-hard prototypes and hard pixels: between these shares of the most similar


@dataclass(frozen=True)
class Recipe(seam.Recipe):
    """The published hyper-parameters on SEAM."""

    second_view: float = 128.0
    projection: int = entry("channels of the projection", 128, least=1)
    contrast_grid: int = entry("cells of a side of the grid on which views are contrasted", 16, least=2)
    cells_a_pixel: int = entry("K is the cells of a view's grid over this", 8, least=1)
    temperature: float = entry("tau", 0.1, least=0.01)
    contrast_weight: float = entry("gamma: weight of each of the three terms", 0.1, least=0)
    background_score: float = entry("u of the background", 0.2, least=0, most=1)


@dataclass(frozen=True)
class EPSRecipe(Recipe, eps.Recipe):
    """What differs on EPS. Ten thousand times two steps are trained, but the rate's horizon is 15 epochs (spec ppc 6.6)."""

    num_epoch: int = 0
    num_iterations: int = 20000
    horizon: int = 19830
    dropout: float = 0.0
    cells_a_pixel: int = 16
    background_score: float = 0.1
    shifted: bool = entry("ECR keeps class 1 whole and lets the background compete, as published", True)


MOBILENET_V2 = {**MOBILENET_V2_LONG_SIDE, "second_view": 129.0, "contrast_grid": 9}
EMBEDDED = {**seam.EMBEDDED, "second_view": 65.0, "contrast_grid": 9}
BY_EPOCHS = {"num_iterations": 0, "horizon": 0}  # instead of the published steps on EPS


class Network(seam.Network):
    """SEAM's network with a projection beside the classifier."""

    projection_name = "fc_proj"  # in the authors' checkpoints

    def __init__(self, backbone, num_classes, recipe, background):
        super().__init__(backbone, num_classes, recipe, background)
        self.projection = nn.Conv2D(
            recipe.projection,
            1,
            in_channels=self.classifier.top.channels,
            use_bias=False,
            weight_initializer=mx.init.Xavier(rnd_type="uniform", factor_type="avg", magnitude=3),
            prefix=f"{self.projection_name}_",
        )

    def view(self, F, images):
        """c, r and f of one view; classifier and projection see the same dropped-out features."""
        taps, hidden = self.features(F, images)
        cam = self.classifier.fc8(hidden)
        return [cam, self.refined(F, cam, taps, images), F.relu(self.projection(hidden))]


class EPSNetwork(Network):
    """The same under the names of EPS's branch."""

    projection_name = "proj_fc"


class EPSLocalization(HybridBlock):
    """The softmax over classes and background, of which the background is dropped; without the PCM (spec ppc 6.8)."""

    def __init__(self, network):
        super().__init__(prefix="")
        self.backbone, self.classifier, self.background = (
            network.backbone, network.classifier, network.background
        )  # fmt: skip

    def hybrid_forward(self, F, images):
        """Map images (N, 3, H, W) to maps (N, C, h, w)."""
        p = F.softmax(self.classifier(self.backbone(images)), axis=1)
        return split_background(F, p, self.background)[1]


# On the host: what belongs to the whole batch. M = N g g pixels in the order image, row, column.


def stretched(maps: np.ndarray, background_score: float, place: str) -> np.ndarray:
    """u of r (N, 1 + C, g, g); a class without any activation is -1 everywhere (spec ppc 5.2)."""
    u = share_of_range(maps.reshape(-1, *maps.shape[2:])).reshape(maps.shape)
    u[:, 0 if place == "first" else -1] = background_score
    return u


def pseudo_labels(u: np.ndarray, label: np.ndarray, place: str) -> np.ndarray:
    """y (M,): the channel with the largest u among the tags of the image and the background; of equal ones the first."""
    background = np.ones((len(label), 1), label.dtype)
    present = np.concatenate([background, label] if place == "first" else [label, background], 1)
    return (u * present[:, :, None, None]).argmax(1).ravel()


def prototypes(u: np.ndarray, f: np.ndarray, count: int) -> np.ndarray:
    """P (1 + C, D), each of length 1: the mean of f over the K pixels with the largest u, weighted by u (spec ppc 5.3).

    Tags do not matter: absent classes get prototypes too, as published. Of equal pixels the first count.
    """
    values, pixels = (array.swapaxes(0, 1).reshape(array.shape[1], -1) for array in (u, f))
    chosen = np.argsort(-values, axis=1, kind="stable")[:, :count]
    weight = np.take_along_axis(values, chosen, 1).astype(np.float64)
    mean = np.einsum("ck,dck->cd", weight, pixels[:, chosen].astype(np.float64))
    # Dividing by the sum of the weights changes nothing but, where that is negative, the sign.
    mean *= np.where(weight.sum(1, keepdims=True) < 0, -1, 1)
    return (mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def pixel_weights(y: np.ndarray, f: np.ndarray, P: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The weight (M,) of every pixel's l in the intra-view loss (spec ppc 5.4).

    Of every class the half of the pixels with the smallest keys, which are random, and the hard half: those between the tenth
    and the six tenths least similar to their prototype. A pixel may be in both. Classes count alike.
    """
    v = f.transpose(0, 2, 3, 1).reshape(len(y), -1)
    v = v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12)
    similarity, weight = (v * P[y]).sum(1), np.zeros(len(y))
    classes = np.unique(y)
    for label in classes:
        members = np.flatnonzero(y == label)
        half, end = len(members) // 2, int(HARDEST * len(members))
        hard = members[np.argsort(similarity[members], kind="stable")[end - half : end]]
        drawn = members[np.argsort(keys[members], kind="stable")[:half]]
        if half:  # a class of a single pixel counts as a class, but gives nothing
            for chosen in (hard, drawn):
                weight[chosen] += 1 / (2 * half * len(classes))
    return weight.astype(np.float32)


def draw_keys(random, y: np.ndarray) -> np.ndarray:
    """Random numbers by which half of the pixels of every class is drawn."""
    return random.random_sample(len(y))


# On the devices


def contrast(v, P, y, tau: float):
    """-log of P_y's share among all prototypes (M,), of pixels v (M, D)."""
    s = mx.nd.dot(v, P, transpose_b=True)
    return -(s / tau).log_softmax(axis=1).pick(y, axis=1)


def intra_contrast(v, P, y, tau: float):
    """l (M,): P_y against the semi-hard prototypes only, those in the tenth to the six tenths most similar (spec ppc 5.4).

    The positive stays in the ranking: it may be counted twice. Of equally similar prototypes the first ranks higher.
    """
    s = mx.nd.dot(v, P, transpose_b=True)
    with mx.autograd.pause():
        one, other = s.expand_dims(2), s.expand_dims(1)
        number = mx.nd.arange(s.shape[1], ctx=s.context)
        earlier = mx.nd.broadcast_lesser(number.reshape((1, 1, -1)), number.reshape((1, -1, 1)))
        above = mx.nd.broadcast_greater(other, one)
        above = above + mx.nd.broadcast_mul(mx.nd.broadcast_equal(other, one), earlier)
        rank = above.sum(axis=2)
        first, end = (math.ceil(share * s.shape[1]) for share in (EASIEST, HARDEST))
        semi_hard = (rank >= first) * (rank < end)
    positive, score = (s.pick(y, axis=1) / tau).exp(), (s / tau).exp()
    return -(positive / (positive + (score * semi_hard).sum(axis=1))).log()


class PPC(seam.SEAM):
    """SEAM with the three contrast terms, all from the first step on."""

    recipes = {
        "voc": Recipe(),
        "mobilenet_v2": Recipe(**MOBILENET_V2),
        "embedded": Recipe(**EMBEDDED),
    }
    score_maps = {"ppc": SEAM_RULE}
    make_network = Network

    def new_layers(self):
        """SEAM's, and the projection."""
        return (*super().new_layers(), self.network.projection)

    def gather(self, outputs, parts, world):
        """Prototypes, pseudo labels and pixels' weights, of the whole batch; those of pixels by the device that has them."""
        recipe, home = self.recipe, parts[0]["image"].context
        label = world.concat([part["label"] for part in parts]).asnumpy()
        random, rows = self._random(home, world), _own_rows(parts, world)
        gathered = {"images": mx.nd.full(1, len(label), home)}
        for number in (0, 1):
            views = [self.on_grid(halves(output)[number]) for output in outputs]
            r, f = (world.concat([view[place] for view in views]).asnumpy() for place in (1, 2))
            u = stretched(r, recipe.background_score, self.background)
            y, P = pseudo_labels(u, label, self.background), prototypes(u, f, self.prototype_size)
            weight = pixel_weights(y, f, P, draw_keys(random, y))
            gathered[f"P {number}"] = mx.nd.array(P, home)
            for part, (begin, end) in zip(parts, rows):
                context, cells = part["image"].context, len(y) // len(label)
                for name, values in (("y", y), ("weight", weight)):
                    own = values[begin * cells : end * cells]
                    gathered[f"{name} {number} {context}"] = mx.nd.array(own, context)
        return gathered

    @property
    def prototype_size(self) -> int:
        """K."""
        return max(1, self.recipe.contrast_grid**2 // self.recipe.cells_a_pixel)

    def on_grid(self, view) -> list:
        """c, r and f of a view on the grid of the contrast."""
        return [resize(maps, (self.recipe.contrast_grid,) * 2) for maps in view]

    def _random(self, home, world):
        """A generator that is the same in all processes and follows from the step's seed."""
        seed = mx.nd.random.randint(0, 2**31 - 1, shape=1, ctx=home)
        return np.random.RandomState(int(world.sum([seed * (world.rank == 0)]).asscalar()))

    def losses(self, outputs, part, gathered):
        """SEAM's losses, and each contrast term, the mean over the views."""
        return {**super().losses(outputs, part, gathered), **self.contrast_losses(outputs, gathered)}

    def contrast_losses(self, outputs, gathered) -> dict:
        """The three terms, weighted, summed over the images of one device."""
        recipe, context = self.recipe, outputs[0].context
        v, P, y, weight = [], [], [], []
        for number, view in enumerate(halves(outputs)):
            pixels = resize(view[2], (recipe.contrast_grid,) * 2).transpose((0, 2, 3, 1))
            v.append(_unit(pixels.reshape((-1, recipe.projection))))
            P.append(gathered[f"P {number}"])
            y.append(gathered[f"y {number} {context}"])
            weight.append(gathered[f"weight {number} {context}"])
        tau, cells = recipe.temperature, recipe.contrast_grid**2
        cross_prototype = sum(contrast(v[k], P[1 - k], y[k], tau).sum() for k in (0, 1)) / cells
        cross_cam = sum(contrast(v[k], P[k], y[1 - k], tau).sum() for k in (0, 1)) / cells
        intra = sum((intra_contrast(v[k], P[k], y[k], tau) * weight[k]).sum() for k in (0, 1))
        terms = {
            "cross_prototype": cross_prototype,
            "cross_cam": cross_cam,
            "intra_view": intra * gathered["images"],  # the loop divides by them
        }
        return {name: term * (recipe.contrast_weight / 2) for name, term in terms.items()}


def _unit(vectors):
    """Vectors (M, D) over their lengths, and 0 where they are 0; the derivative is finite there too."""
    square = mx.nd.square(vectors).sum(axis=1, keepdims=True)
    return mx.nd.broadcast_div(vectors, mx.nd.sqrt(mx.nd.maximum(square, 1e-24)))


def _own_rows(parts, world) -> list:
    """Where the images of each device of this process lie in the whole batch: (begin, end)."""
    counts = [mx.nd.array([[world.rank, len(part["image"])]], part["image"].context) for part in parts]
    table = world.concat(counts).asnumpy().astype(int)
    ends = np.cumsum(table[:, 1])
    return [(int(end - n), int(end)) for end, (rank, n) in zip(ends, table) if rank == world.rank]


class PPCOnEPS(PPC):
    """The same with EPS's loss and localization; the background comes last and nothing is made larger (spec ppc 6).

    Two things of the published program look like slips and are kept: see `EPSRecipe.shifted`, and the saliency loss of r, of
    which no class is ever foreground, because r lies in 0..1 and its softmax below 0.5.
    """

    recipes = {
        "voc": EPSRecipe(),
        "mobilenet_v2": EPSRecipe(**MOBILENET_V2, **BY_EPOCHS),
        "embedded": EPSRecipe(**EMBEDDED, **BY_EPOCHS),
    }
    needs = eps.EPS.needs
    score_maps = {"ppc_eps": share_rule("ppc_eps", 0.22)}
    alignment, normalization = "centres", "maximum"
    background = "last"
    make_network, make_localization = EPSNetwork, EPSLocalization

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        share = recipe.foreground_share
        self.saliency_loss = eps.SaliencyLoss(num_classes, recipe.overlap_threshold, share)

    @property
    def untouched(self):
        """The first class, as published; the background if the recipe says so."""
        return "first" if self.recipe.shifted else self.background

    def sizes(self, outputs, size):
        """Those of the network's own grids."""
        return tuple(view[0].shape[2:] for view in halves(outputs))

    def losses(self, outputs, part, gathered):
        """The losses of PPC, and the saliency losses of c and r, each the mean over the views."""
        size = part["image"].shape[2:]
        saliency = part["saliency"].expand_dims(1)
        shrunk = resize(saliency, self.network.second_size(size))
        terms = [
            self.saliency_loss(maps, eps.nearest(s[:, 0], maps.shape[2:]), part["label"])
            for view, s in zip(halves(outputs), (saliency, shrunk))
            for maps in view[:2]
        ]
        return {**super().losses(outputs, part, gathered), "saliency": sum(terms) / 2}
