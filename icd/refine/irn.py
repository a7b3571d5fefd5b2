"""IRN: a boundary map, learned from which pixels probably have the same label, up to which score maps spread.

Ahn, Cho & Kwak, "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations", CVPR 2019. Trains on
seeds of score maps (`icd.refine.confident_seeds`), so beyond tags it needs nothing.

Published numbers: pseudo masks 66.5 % mIoU on VOC 2012 train from CAM of 48.3 % (paper; re-runs of the public code give
64.9 to 66.0 %). Segmentation, DeepLab on ResNet-50, VOC val / test: 63.5 / 64.8 %.
Time: 990 steps of 32 images at 512 x 512. Its authors' program gave 46.4 % on several GPUs (spec irn 8.1); here all devices
together do what one does.

Two branches on a pretrained backbone that is not trained itself. One gives the boundary map B: two pixels have the affinity
1 - max of B on the line between them, which is learned from seeds. The other gives every pixel's displacement D to the
centre of its object; two pixels of one class differ in D by what lies between them, two of the background by nothing.
Only instances need D, and they are not part of this package (spec irn 9); the branch is trained for fidelity.
Symbols (spec irn 3): s a source cell, d the step to another cell, a affinity.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from icd.classes import IGNORE
from icd.compat import mx
from icd.data.augment import MEAN_COLOUR, UniformScaleCrop
from icd.data.views import Frame
from icd.errors import InputError
from icd.recipe import BaseRecipe, entry
from icd.refine.boundary_walk import BACKGROUND, BETA, RADIUS, STEPS, STRIDE, walk_to_boundaries
from icd.refine.irn_branches import BoundaryBranch, DisplacementBranch, Taps
from icd.refine.path_affinity import path_affinity_planes, path_offsets, path_points
from icd.trainable import Refiner, set_rate

EPSILON = 1e-5
FRAME_MULTIPLE = 16  # sides of larger frames are multiples of it


@dataclass(frozen=True)
class Recipe(BaseRecipe):
    """IRN's hyper-parameters. The momentum is no slip of ours: see spec irn 8.2. Displacement learns ten times as fast."""

    image_size: int = 512
    batch_size: int = 32
    num_epoch: int = 3
    learning_rate: float = 0.1
    momentum: float = 1e-4
    weight_decay: float = 1e-4
    least_scale: float = entry("least scale of an image in training", 0.5, least=0.01)
    most_scale: float = entry("largest scale of an image in training", 1.5, least=0.01)
    radius: int = entry("cells nearer than this are pairs in training", 10, least=2, most=64)
    walk_radius: int = entry("cells nearer than this are neighbours in the walk", RADIUS, least=2, most=64)
    frame: int = entry("side of the frame in which whole images are shown", 512, least=16)


# For photographs of 320 pixels instead of 500.
MOBILENET_V2 = {"image_size": 257, "batch_size": 16, "radius": 6, "frame": 320}
EMBEDDED = {
    "image_size": 129,
    "batch_size": 8,
    "num_epoch": 12,
    "radius": 6,
    "frame": 208,
}


class Fields(NamedTuple):
    """Of n images: boundary logits (n, 1, h, w), and displacements (n, 2, h, w), down and right, in cells."""

    boundary: object
    displacement: object


class IRN(Refiner):
    """The two branches on a frozen backbone."""

    backbone = "resnet50"
    recipes = {
        "voc": Recipe(),
        "mobilenet_v2": Recipe(**MOBILENET_V2),
        "embedded": Recipe(**EMBEDDED),
    }
    needs = ("mask",)

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        check_size(recipe)
        backbone.freeze(below="top", norm="affine")
        self.network = Taps(backbone, STRIDE)
        self.boundary_branch = BoundaryBranch(self.network.taps)
        self.displacement_branch = DisplacementBranch(self.network.taps)
        set_rate(self.displacement_branch, recipe.new_layer_multiplier)
        self.mean_shift = self.add_state("mean_shift_running_mean", (2,))

    @staticmethod
    def augmentation(recipe):
        """A random scale, mirror, crop."""
        return UniformScaleCrop(recipe.image_size, recipe.least_scale, recipe.most_scale)

    @staticmethod
    def presentation(recipe, infer_size):
        """The image in the upper left of a frame of mean colour."""
        return Frame(recipe.frame, MEAN_COLOUR)

    def forward(self, images):
        """Run the backbone as in inference, and both branches on what it gives."""
        taps = self.frozen_taps(images)
        return Fields(self.boundary_branch(*taps), self.displacement_branch(*taps))

    def frozen_taps(self, images) -> list:
        """The backbone's taps; batch norm and dropout do not see that this is training."""
        with mx.autograd.pause(train_mode=False):
            return self.network(images)

    def gather(self, outputs, parts, world):
        """Count the pairs of the whole batch, by which the losses average, and its images."""
        counts = []
        for fields, part in zip(outputs, parts):
            kinds = self.pairs(part["mask"], fields.boundary.shape[2:])
            images = mx.nd.full(1, len(part["mask"]), kinds.same_background.context)
            counts.append(mx.nd.concat(*(kind.sum().reshape(1) for kind in kinds), images, dim=0))
        return {"counts": world.sum(counts)}

    def losses(self, outputs, part, gathered):
        """The affinity terms of pairs of the background, of a class, and of different labels; two terms of displacement."""
        kinds = self.pairs(part["mask"], outputs.boundary.shape[2:])
        a = path_affinities(outputs.boundary.sigmoid()[:, 0], self.recipe.radius)
        alike, apart = -(a + EPSILON).log(), -(1 + EPSILON - a).log()
        of_background, of_class = displacement_errors(outputs.displacement, self.recipe.radius)
        background, foreground, different, images = (gathered["counts"][i : i + 1] for i in range(4))

        def mean(values, kind, count, factor=1):
            """This device's share: the loop divides by the images of the batch, which the published losses do not."""
            return images * (values * kind).sum() / (factor * count + EPSILON)

        return {
            "same_background": mean(alike, kinds.same_background, background) / 4,
            "same_class": mean(alike, kinds.same_class, foreground) / 4,
            "different": mean(apart, kinds.different, different) / 2,
            "displacement_class": mean(of_class, kinds.same_class, foreground, 2) / 2,
            "displacement_background": mean(of_background, kinds.same_background, background, 2) / 2,
        }

    def pairs(self, seeds, size) -> Pairs:
        """The kinds of all pairs of cells of a grid of `size`, for seeds (n, S, S) of the crop."""
        return pairs_of(on_grid(seeds, size), self.recipe.radius)

    def conclude(self, batches, world):
        """Take the mean displacement over whole images, which centres it (spec irn 4.4).

        The original leaves out the last images where they do not fill a batch; here all count.
        """
        total, images = mx.nd.zeros(self.mean_shift.shape, self.context), 0
        for batch in batches:
            for views in batch["views"]:
                taps = self.frozen_taps(mx.nd.array(views, self.context, dtype="float32"))
                total = total + self.displacement_branch(*taps).mean(axis=(2, 3)).sum(axis=0)
                images += len(views)
        images = world.sum([mx.nd.full(1, images, self.context)])
        if images.asscalar():
            self.mean_shift.set_data(world.sum([total]) / images)

    @property
    def context(self):
        """The device that inference computes on."""
        return self.mean_shift.list_ctx()[0]

    def spread(self, image, scores, background=BACKGROUND, beta=BETA, steps=STEPS, radius=None, threads=0):
        """Let the score maps of an image spread up to its boundaries.

        Parameters
        ----------
        image : numpy.ndarray, shape (H, W, 3), uint8
            RGB.
        scores : icd.files.ScoreMaps
        background, beta, steps, radius, threads
            As of `icd.refine.boundary_walk.walk_to_boundaries`; `radius` is the recipe's unless given.

        Returns
        -------
        icd.files.LabelStack
        """
        radius = self.recipe.walk_radius if radius is None else radius
        return walk_to_boundaries(self.boundary(image), scores, background, beta, steps, radius, threads)

    def affinities(self, images) -> tuple:
        """What `icd.refine.random_walk` needs of one image (1, 3, H, W), RGB 0..255: affinities (D, h, w) and steps (D, 2)."""
        boundary = self.boundary(images[0].asnumpy().transpose(1, 2, 0))
        radius = self.recipe.walk_radius
        return path_affinity_planes(boundary, radius), path_offsets(radius)

    def boundary(self, image) -> np.ndarray:
        """The boundary map of an image and of its mirror image, averaged before the sigmoid (spec irn 5).

        Parameters
        ----------
        image : numpy.ndarray, shape (H, W, 3)
            RGB, 0..255.

        Returns
        -------
        numpy.ndarray, shape ((H - 1) // 4 + 1, (W - 1) // 4 + 1), float32, 0..1
        """
        logits = self.boundary_branch(*self.frozen_taps(self.framed(image, image[:, ::-1])))
        rows, columns = ((side - 1) // STRIDE + 1 for side in image.shape[:2])
        # The mirrored image is padded on the right too: it is cut out before it is turned back.
        own, mirrored = logits[:, 0, :rows, :columns]
        return ((own + mirrored.flip(axis=1)) / 2).sigmoid().asnumpy()

    def displacement(self, image) -> np.ndarray:
        """The displacements of an image minus their mean over the training set, (2, h, w); arguments as of `boundary`."""
        field = self.displacement_branch(*self.frozen_taps(self.framed(image)))[0]
        rows, columns = ((side - 1) // STRIDE + 1 for side in image.shape[:2])
        shifted = field - self.mean_shift.data(self.context).reshape((2, 1, 1))
        return shifted[:, :rows, :columns].asnumpy()

    def framed(self, *images):
        """Images of one size in the upper left of frames of mean colour, (n, 3, S, S') on the device."""
        side = max(self.recipe.frame, *images[0].shape[:2])
        side = -(-side // FRAME_MULTIPLE) * FRAME_MULTIPLE
        frames = np.empty((len(images), side, side, 3), np.float32)
        frames[:] = MEAN_COLOUR
        for frame, image in zip(frames, images):
            frame[: image.shape[0], : image.shape[1]] = image
        return mx.nd.array(frames.transpose(0, 3, 1, 2), self.context)


def check_size(recipe) -> None:
    """Refuse a crop in which no cell has all its pairs."""
    reach = recipe.radius - 1
    least = STRIDE * (2 * reach + 1)
    if recipe.image_size < least:
        found = f"{recipe.image_size} with radius {recipe.radius}"
        raise InputError("recipe entry image_size", f"{least} or more", found, "Or take a smaller radius.")


def on_grid(seeds, size):
    """Seeds (n, S, S) at the cells of a grid (n, h, w), as Pillow's nearest neighbour does (spec irn 3.3): 4 i + 2."""
    for axis, (old, new) in enumerate(zip(seeds.shape[1:], size), 1):
        index = np.floor((np.arange(new) + 0.5) * old / new)
        seeds = seeds.take(mx.nd.array(index, seeds.context), axis=axis)
    return seeds


class Pairs(NamedTuple):
    """Which pairs of source and step (n, D, h - f, w - 2 f) are of a kind: 1 or 0."""

    same_background: object
    same_class: object
    different: object


def pairs_of(labels, radius: int) -> Pairs:
    """The kinds of all pairs of labels (n, h, w) of a grid; undefined labels make none (spec irn 3.3)."""
    here, there = sources(labels, radius).expand_dims(1), destinations(labels, radius)
    known = mx.nd.broadcast_mul(there != IGNORE, here != IGNORE)
    equal = mx.nd.broadcast_equal(there, here) * known
    background = there == 0
    return Pairs(equal * background, equal * (1 - background), known - equal)


def displacement_errors(field, radius: int) -> tuple:
    """``|delta|`` for background pairs, ``|delta - d|`` for pairs of a class, delta = D(s) - D(s + d); (n, D, ..) each."""
    delta = sources(field, radius).expand_dims(2) - destinations(field, radius, axis=2)
    d = mx.nd.array(path_offsets(radius).T, field.context).reshape((1, 2, -1, 1, 1))
    return delta.abs().sum(axis=1), mx.nd.broadcast_sub(delta, d).abs().sum(axis=1)


def path_affinities(B, radius: int):
    """a, (n, D, h - f, w - 2 f), of boundary maps B (n, h, w): 1 - the maximum on the path (spec irn 3.2).

    The gradient goes to the cell of the maximum alone, the first of equal ones.
    """
    with mx.autograd.pause():
        cells = strongest_cells(B, radius)
    flat = B.reshape(-1)
    # Not in one, because the gradient of one large `take` is added up in one long row, which rounds too often.
    return 1 - mx.nd.concat(*(flat.take(group) for group in cells), dim=1)


def strongest_cells(B, radius: int) -> list:
    """Where on each path B is largest: the cells' numbers in all of B, (n, .., h - f, w - 2 f) for the paths of each length."""
    count, height, width = B.shape
    paths = path_points(radius)
    points = sorted({point for path in paths for point in path})
    windows = mx.nd.stack(*(shifted(B, radius, *point) for point in points), axis=1)
    own = mx.nd.arange(B.size, ctx=B.context).reshape((count, height, width))
    own = sources(own, radius).expand_dims(1)
    found = []
    for length, group in itertools.groupby(paths, len):
        group = list(group)
        which = mx.nd.array([[points.index(point) for point in path] for path in group], B.context)
        steps = mx.nd.array([dy * width + dx for path in group for dy, dx in path], B.context)
        first = mx.nd.arange(0, len(steps), length, ctx=B.context).reshape((1, -1, 1, 1))
        largest = windows.take(which, axis=1).argmax(axis=2)
        found.append(mx.nd.broadcast_add(steps.take(mx.nd.broadcast_add(largest, first)), own))
    return found


def sources(maps, radius: int):
    """Maps (.., h, w) at the cells that have all their pairs, (.., h - f, w - 2 f), f = radius - 1 (spec irn 3.1)."""
    return shifted(maps, radius, 0, 0)


def destinations(maps, radius: int, axis=1):
    """Maps (n, .., h, w) at all steps from the sources, (n, .., D, h - f, w - 2 f); the steps lie on `axis`."""
    return mx.nd.stack(
        *(shifted(maps, radius, int(dy), int(dx)) for dy, dx in path_offsets(radius)), axis=axis
    )


def shifted(maps, radius: int, dy: int, dx: int):
    """Maps (.., h, w) at one step from the sources."""
    reach, (height, width) = radius - 1, maps.shape[-2:]
    begin = (dy, reach + dx)
    end = (height - reach + dy, width - reach + dx)
    whole = (None,) * (maps.ndim - 2)
    return maps.slice(begin=(*whole, *begin), end=(*whole, *end))
