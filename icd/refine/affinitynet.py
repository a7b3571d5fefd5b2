"""AffinityNet: a network says how alike near cells of an image are, and score maps walk to what is alike.

Ahn & Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly Supervised Semantic
Segmentation", CVPR 2018 (PSA). Beyond tags it needs two label stacks of every training image: a method's score maps behind a
dense CRF, once with much background (low alpha) and once with little (high alpha).

Published numbers, VOC 2012 train, mIoU %, ResNet-38, alpha 4/16/32: CAM 47.7, after the walk 61.0; SEAM 55.4 to 63.6, PPC
61.5 to 69.2 with SEAM's copy of the program. Time: 10,576 steps of 8 crops of 448 x 448. Chains: `psa`, `seam`, `ppc`.

Symbols (spec psa 2 and 3): f features of a cell, ``a_ij = exp(-mean |f_i - f_j|)`` the affinity of a pair, n_b, n_f, n_n how many
pairs of the whole batch are both background, both of one class, or of two labels.

The cells have 8 pixels, as one of the last three taps of all our backbones has; a tap with another grid is resized to that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icd.backbones.base import HybridBlock, new_convolution, resize_like
from icd.compat import mx
from icd.data.augment import MEAN_COLOUR, AffinityCrop
from icd.errors import InputError
from icd.files import LabelStack, ScoreMaps
from icd.grid import maps_on_image
from icd.recipe import BaseRecipe, entry
from icd.refine.random_walk import disc_offsets, place_pairs, random_walk
from icd.refine.stack_crf import stack_of_scores
from icd.trainable import Refiner, set_rates

EPSILON = 1e-5
WIDTHS = (64, 128, 256)  # of the three compressed taps
SMALL_GRID = 11  # SEAM's copy shrinks the radius on grids with a side below this


@dataclass(frozen=True)
class Recipe(BaseRecipe):
    """PSA's hyper-parameters with ResNet-38. The momentum is not a slip: see spec resnet38 5."""

    image_size: int = 448
    batch_size: int = 8
    num_epoch: int = 8
    learning_rate: float = 0.01
    momentum: float = 5e-4
    weight_decay: float = 5e-4
    cell: int = entry("pixels of a side of the cells whose affinities are learned", 8, least=1)
    radius: int = entry("pairs of cells are nearer than this", 5, least=2, most=64)
    shrinks: bool = entry("whether the radius shrinks on grids with less than 11 cells a side", False)
    background_power: float = entry("walk: exponent of what maps leave for the background", 16.0, least=0)
    beta: float = entry("walk: exponent of the affinities", 8.0, least=1e-6)
    walk_steps: int = entry("walk: steps", 256, least=0)


MOBILENET_V2 = {"image_size": 256, "batch_size": 16, "learning_rate": 0.1, "backbone_multiplier": 0.4}
EMBEDDED = {"image_size": 128, "num_epoch": 12, "learning_rate": 0.1, "shrinks": True}


class Network(HybridBlock):
    """A backbone and the features f of its last three taps.

    Parameters
    ----------
    cell : int
        The stride of one of them.
    """

    def __init__(self, backbone, cell):
        super().__init__(prefix="")
        self.backbone = backbone
        self.used = list(backbone.taps)[-3:]
        taps = [backbone.taps[name] for name in self.used]
        strides = [tap.stride for tap in taps]
        if cell not in strides:
            raise InputError("recipe entry cell", " or ".join(map(str, sorted(set(strides)))), f"{cell}")
        self.resizes = [stride != cell for stride in strides]
        self.exemplar = self.used[strides.index(cell)]
        self.f8_3, self.f8_4, self.f8_5 = (
            new_convolution(f"f8_{number}", tap.channels, width)
            for number, tap, width in zip((3, 4, 5), taps, WIDTHS)
        )
        self.f9 = new_convolution("f9", sum(WIDTHS), sum(WIDTHS), gain=4)

    def hybrid_forward(self, F, images):
        """Map images (N, 3, H, W), RGB 0..255, to f (N, 448, h, w), 0..inf and down to -1."""
        return elu(F, self.before_activation(F, images))

    def before_activation(self, F, images):
        """What f is the activation of."""
        taps, compressed = self.backbone.forward_taps(F, images), []
        for name, layer, resized in zip(self.used, (self.f8_3, self.f8_4, self.f8_5), self.resizes):
            values = layer(taps[name])  # 1x1: whether before or behind the resizing makes no difference
            compressed.append(elu(F, resize_like(F, values, taps[self.exemplar]) if resized else values))
        return self.f9(F.concat(*compressed, dim=1))


def elu(F, x):
    """The exponential linear unit with alpha 1."""
    return F.LeakyReLU(x, act_type="elu", slope=1.0)


# Pairs


class Pairs:
    """The pairs of a grid (spec psa 3.2): every source cell with the cells at the offsets from it.

    Parameters
    ----------
    radius : int
        2 or more.
    height, width : int
        Of the grid, more than radius - 1 and 2 (radius - 1).

    Attributes
    ----------
    offsets : numpy.ndarray, shape (D, 2), int32
        34 for radius 5.
    rows, columns : int
        Of the sources: cells from which all offsets stay inside.
    """

    def __init__(self, radius: int, height: int, width: int):
        self.offsets = disc_offsets(radius)
        self.reach = radius - 1
        self.rows, self.columns = height - self.reach, width - 2 * self.reach

    def at(self, values, dy: int = 0, dx: int = 0):
        """The entries of values (N, K, h, w) at an offset from the sources: a view (N, K, rows, columns)."""
        left = self.reach + dx
        return values[:, :, dy : dy + self.rows, left : left + self.columns]

    def flat(self, planes: list):
        """Planes (N, rows, columns), one an offset, as (N, D, sources)."""
        return mx.nd.stack(*planes, axis=1).reshape((0, 0, -1))


class PairAffinities(mx.autograd.Function):
    """a of all pairs, computed offset by offset, and nothing kept for the derivative but a and f.

    Gathering the partners, or letting MXNet keep what it needs for the derivative of every slice, takes more than a gigabyte for
    eight crops of 448 pixels.
    """

    def __init__(self, pairs: Pairs):
        super().__init__()
        self.pairs = pairs

    def forward(self, f):
        """Map f (N, K, h, w) to a (N, D, sources)."""
        a = affinities_of(f, self.pairs)
        # Without its place in the record: it leads to this function, and the circle through the engine would stay for ever.
        self.save_for_backward(f, a.detach())
        return a

    def backward(self, gradient):
        """da/df_i = -a sign(f_i - f_j) / K, and the opposite for f_j."""
        f, a = self.saved_tensors
        pairs, source = self.pairs, self.pairs.at(f)
        weight = (gradient * a / f.shape[1]).reshape((0, 0, pairs.rows, pairs.columns))
        found, at_source = mx.nd.zeros_like(f), mx.nd.zeros_like(source)
        for index, (dy, dx) in enumerate(pairs.offsets.tolist()):
            toward = mx.nd.sign(source - pairs.at(f, dy, dx))
            flow = mx.nd.broadcast_mul(toward, weight[:, index : index + 1])
            at_source -= flow
            top, left = dy, pairs.reach + dx
            found[:, :, top : top + pairs.rows, left : left + pairs.columns] += flow
        found[:, :, : pairs.rows, pairs.reach : pairs.reach + pairs.columns] += at_source
        return found


def affinities_of(f, pairs: Pairs):
    """a (N, D, sources) of features f (N, K, h, w)."""
    source, found = pairs.at(f), []
    # A product with -1 / K is a mean that MXNet computes twenty times as fast on a CPU as `mean` over channels.
    share = mx.nd.full((len(f), 1, f.shape[1]), -1 / f.shape[1], f.context)
    for dy, dx in pairs.offsets.tolist():
        distance = (source - pairs.at(f, dy, dx)).abs()
        found.append(mx.nd.batch_dot(share, distance.reshape((0, 0, -1))))
    return mx.nd.concat(*found, dim=1).exp()


def pair_kinds(label, pairs: Pairs):
    """Which pairs are both background, of one class, of two labels: three arrays of 0 and 1, (N, D, sources).

    Parameters
    ----------
    label : NDArray, shape (N, h, w)
        0 background, other labels, 255 ignored.
    """
    label = label.expand_dims(1)
    source, kinds = pairs.at(label)[:, 0], [[], [], []]
    for dy, dx in pairs.offsets.tolist():
        other = pairs.at(label, dy, dx)[:, 0]
        equal, known = source == other, (source < 255) * (other < 255)
        background = equal * (source == 0)
        kinds[0].append(background)
        kinds[1].append(equal * known - background)
        kinds[2].append((1 - equal) * known)
    return [pairs.flat(planes) for planes in kinds]


def affinity_losses(a, kinds, counts) -> dict:
    """The loss terms, each weighted, of pairs that may be a part of those counted (spec psa 3.4).

    Parameters
    ----------
    a : NDArray, shape (N, D, sources)
    kinds : list of NDArray
        From `pair_kinds`.
    counts : NDArray, shape (3,)
        n_b, n_f, n_n of the whole batch, each + 1e-5.
    """
    alike, apart = -(a + EPSILON).log(), -(1 + EPSILON - a).log()
    terms = zip(("background", "foreground", "negative"), (alike, alike, apart), kinds, (4, 4, 2))
    return {
        name: (loss * kind).sum() / counts[index : index + 1] / share
        for index, (name, loss, kind, share) in enumerate(terms)
    }


# The refiner


class AffinityNet(Refiner):
    """The network with its loss, and the walk."""

    backbone = "resnet38"
    recipes = {
        "voc": Recipe(),
        # SEAM's copy of the program, which PPC uses too (spec psa 5.4, ppc 9).
        "seam": Recipe(shrinks=True, background_power=6.0, walk_steps=64),
        "mobilenet_v2": Recipe(**MOBILENET_V2),
        "embedded": Recipe(**EMBEDDED),
    }
    needs = ("low", "high")

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        self.network = network = Network(backbone, recipe.cell)
        new = (network.f8_3, network.f8_4, network.f8_5, network.f9)
        set_rates(self, network._children.values(), new)

    @staticmethod
    def augmentation(recipe):
        """Colours, crop, mirror; the two stacks become labels of the grid."""
        return AffinityCrop(recipe.image_size, recipe.cell)

    def pairs(self, height: int, width: int):
        """The pairs of a grid; None where it is too small to have any."""
        radius, side = self.recipe.radius, min(height, width)
        no_source = height < radius or width < 2 * radius - 1
        if no_source or (self.recipe.shrinks and side < SMALL_GRID):
            radius = min(radius, (side - 1) // 2)
        return Pairs(radius, height, width) if radius >= 2 else None

    def gather(self, outputs, parts, world):
        """The numbers of pairs and images in the whole batch."""
        sums = []
        for part in parts:
            label = part["affinity"]
            kinds = pair_kinds(label, self._training_pairs(label))
            images = mx.nd.full(1, len(label), label.context)
            sums.append(mx.nd.concat(*(kind.sum() for kind in kinds), images, dim=0))
        total = world.sum(sums)
        return {"counts": total[:3] + EPSILON, "images": total[3:]}

    def losses(self, outputs, part, gathered):
        """A quarter of each positive kind of pairs and half of the negative ones, averaged over the batch's pairs."""
        label = part["affinity"]
        pairs = self._training_pairs(label)
        # A backbone that rounds up has cells beyond the crop's last whole one.
        f = outputs[:, :, : label.shape[1], : label.shape[2]]
        terms = affinity_losses(PairAffinities(pairs)(f), pair_kinds(label, pairs), gathered["counts"])
        return {name: term * gathered["images"] for name, term in terms.items()}  # the loop divides by them

    def _training_pairs(self, label):
        pairs = self.pairs(*label.shape[1:])
        if pairs is None:
            expected = f"{5 * self.recipe.cell} or more"
            raise InputError("recipe entry image_size", expected, f"{self.recipe.image_size}")
        return pairs

    def affinities(self, images):
        """Of an image (1, 3, H, W): a as planes (D, h, w), float32, and the offsets (D, 2); None twice on a tiny grid."""
        rows, columns = (-(-side // self.recipe.cell) for side in images.shape[2:])
        f = self.network(images)[:, :, :rows, :columns]
        pairs = self.pairs(*f.shape[2:])
        if pairs is None:
            return None, None
        planes = place_pairs(affinities_of(f, pairs)[0].asnumpy(), pairs.offsets, *f.shape[2:])
        return np.clip(planes, 0, 1), pairs.offsets

    def spread(self, image, scores, background=None, beta=None, steps=None, threads=0):
        """Let score maps walk (spec psa 5.3); see `Refiner.spread`.

        Parameters
        ----------
        scores : icd.files.ScoreMaps or icd.files.LabelStack
            A stack has its background already.
        background : float or dict, optional
            A constant, or {"power": alpha}; default: as published.
        beta : float, optional
        steps : int, optional
        threads : int
            0: all processors.
        """
        recipe = self.recipe
        if not isinstance(scores, LabelStack):
            power = {"power": recipe.background_power}
            scores = stack_of_scores(scores, power if background is None else background)
        if scores.planes.shape[1:] != image.shape[:2]:
            height, width = image.shape[:2]
            found = f"{scores.planes.shape[1]} x {scores.planes.shape[2]}"
            raise InputError("score maps", f"{height} x {width} (height x width, as the image)", found)
        context = next(iter(self.network.collect_params().values())).list_ctx()[0]
        padded = pad_to_cells(image.astype(np.float32), recipe.cell, np.float32(MEAN_COLOUR))
        batch = mx.nd.array(padded.transpose(2, 0, 1)[None], context)
        affinities, offsets = self.affinities(batch)
        return walked_stack(
            scores,
            affinities,
            offsets,
            recipe.cell,
            recipe.beta if beta is None else beta,
            recipe.walk_steps if steps is None else steps,
            threads,
        )


def pad_to_cells(values: np.ndarray, cell: int, fill) -> np.ndarray:
    """Values (H, W, ...), padded at the bottom and right to whole cells."""
    height, width = (-(-n // cell) * cell for n in values.shape[:2])
    padded = np.empty((height, width, *values.shape[2:]), values.dtype)
    padded[...] = fill
    padded[: values.shape[0], : values.shape[1]] = values
    return padded


def walked_stack(stack: LabelStack, affinities, offsets, cell: int, beta, steps, threads=0) -> LabelStack:
    """Average a stack over cells, let it walk, and bring it back to the image bilinearly (spec psa 5.3, steps 2 to 7).

    Parameters
    ----------
    affinities, offsets : numpy.ndarray
        As for `icd.refine.random_walk`; None: the stack stays where it is.

    Returns
    -------
    LabelStack
        Of the same labels and size; float32.
    """
    size, cells = stack.planes.shape[1:], cell_means(stack.planes, cell)
    if affinities is not None:
        cells = random_walk(cells, affinities, offsets, beta, steps, threads)
    frame = (*(cell * n for n in cells.shape[1:]), *size)
    return LabelStack(stack.labels, maps_on_image(ScoreMaps(stack.labels, cells, size, frame)))


def cell_means(planes: np.ndarray, cell: int) -> np.ndarray:
    """Planes (K, H, W), averaged over cells, (K, h, w) float32; what lies outside of them counts as 0."""
    planes = pad_to_cells(planes.transpose(1, 2, 0).astype(np.float32), cell, 0)
    rows, columns = (n // cell for n in planes.shape[:2])
    means = planes.reshape(rows, cell, columns, cell, -1).mean((1, 3))
    return np.ascontiguousarray(means.transpose(2, 0, 1))
