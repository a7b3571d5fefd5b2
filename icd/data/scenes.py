"""Draw the scenes of the embedded set. In: a random generator, class numbers. Out: image, truth, saliency.

Hard in the way that weak supervision is hard: every object has a small telling part (a pattern that only its
class has) and a large plain part (smooth, in a colour that any class may have), so that a classifier needs to
look at the telling part alone; and boats nearly always come with water, which tells of a boat as surely as
its sail does. What lies within an object differs from the rest of the picture: plain parts are smooth and
colourful, backgrounds rough and dull.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

CLASSES = ("bird", "boat", "car", "sheep")
_BOAT = 2
_WATER_WITH_BOAT, _WATER_WITHOUT = 0.85, 0.04  # how often water is there
_OWN_COLOUR = 0.35  # how often the plain part has the colour its class prefers
_SIDES = (144, 177)  # height and width of a scene, pixels
_HALF_LENGTHS = (40, 64)  # half the length of an object, pixels


@dataclass(frozen=True)
class Scene:
    """A picture: `image` uint8 (H, W, 3) RGB, `truth` uint8 (H, W) class numbers, `saliency` uint8 (H, W)."""

    image: np.ndarray
    truth: np.ndarray
    saliency: np.ndarray


def _ellipse(x, y, half_width, half_height) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([x + half_width * np.cos(angle), y + half_height * np.sin(angle)], 1)


def _box(left, top, right, bottom) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)


def _stripes(x, y) -> np.ndarray:
    return x % 8 < 4


def _checks(x, y) -> np.ndarray:
    return (x % 10 < 5) ^ (y % 10 < 5)


def _rings(x, y) -> np.ndarray:
    return np.hypot(x, y) % 7 < 3.5


def _dots(x, y) -> np.ndarray:
    return np.hypot(x % 8 - 4, y % 8 - 4) < 2.7


@dataclass(frozen=True)
class _Kind:
    """What the objects of a class look like; outlines have x in -1..1 along the object and y downwards."""

    plain: tuple  # outlines of the plain part
    telling: tuple  # outlines of the telling part
    pattern: object  # of the telling part
    colours: tuple  # the two colours of the pattern, RGB
    hue: int  # the colour that the plain part prefers, degrees


_KINDS = {
    1: _Kind(
        plain=(_ellipse(0, 0, 0.85, 0.48), _ellipse(0.78, -0.32, 0.24, 0.22), _box(-1, -0.25, -0.6, 0.1)),
        telling=(_ellipse(-0.1, -0.02, 0.4, 0.24),),
        pattern=_stripes,
        colours=((215, 40, 40), (245, 235, 225)),
        hue=285,
    ),
    2: _Kind(
        plain=(np.array([(-1, 0), (1, 0), (0.7, 0.5), (-0.7, 0.5)]), _box(-0.7, -0.42, 0.15, 0.02)),
        telling=(np.array([(0.25, 0), (0.25, -0.85), (0.9, 0)]),),
        pattern=_checks,
        colours=((250, 205, 30), (25, 25, 30)),
        hue=15,
    ),
    3: _Kind(
        plain=(
            _box(-1, -0.1, 1, 0.32),
            np.array([(-0.65, -0.1), (-0.4, -0.52), (0.35, -0.52), (0.65, -0.1)]),
        ),
        telling=(_ellipse(-0.55, 0.32, 0.25, 0.25), _ellipse(0.55, 0.32, 0.25, 0.25)),
        pattern=_rings,
        colours=((35, 60, 210), (235, 240, 250)),
        hue=165,
    ),
    4: _Kind(
        plain=(
            _ellipse(-0.1, 0, 0.8, 0.45),
            _box(-0.65, 0.2, -0.4, 0.72),
            _box(0.2, 0.2, 0.45, 0.72),
        ),
        telling=(_ellipse(0.76, -0.22, 0.27, 0.3),),
        pattern=_dots,
        colours=((20, 150, 60), (240, 150, 220)),
        hue=60,
    ),
}
_HUES = tuple(kind.hue for kind in _KINDS.values()) + (330,)


def draw_scene(classes, random) -> Scene:
    """Draw one object of each class in `classes`, on a background.

    Parameters
    ----------
    classes : sequence of int
        Class numbers, 1 to 4, from back to front.
    random : numpy.random.RandomState

    Returns
    -------
    Scene
        Every class of `classes` can be seen in it.
    """
    height, width = random.randint(*_SIDES), random.randint(*_SIDES)
    image = _background((height, width), random)
    if random.rand() < (_WATER_WITH_BOAT if _BOAT in classes else _WATER_WITHOUT):
        _add_water(image, random)
    truth = np.zeros((height, width), np.uint8)
    for number in classes:
        _add_object(image, truth, number, random)
    image = cv2.GaussianBlur(image, (0, 0), 0.6) + random.normal(0, 4, image.shape)
    return Scene(np.clip(image, 0, 255).astype(np.uint8), truth, _saliency(truth, random))


def _smooth_noise(shape, scale: float, random) -> np.ndarray:
    """Noise of mean 0 and deviation 1 whose blobs are about `scale` pixels wide."""
    coarse = max(1, int(scale / 2))  # wide blobs are drawn on a coarser grid and enlarged
    height, width = (-(-n // coarse) for n in shape)
    noise = random.standard_normal((height, width)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), scale / coarse, borderType=cv2.BORDER_REFLECT)
    noise = cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return (noise - noise.mean()) / noise.std()


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    pixel = np.array([[[hue % 360, saturation, value]]], np.float32)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0] * 255


def _background(shape, random) -> np.ndarray:
    """A rough, dull surface: two dull colours mixed by coarse noise, with grain like leaves or gravel."""
    first, second = (
        _colour(random.uniform(0, 360), random.uniform(0.02, 0.2), random.uniform(0.3, 0.8)) for _ in "ab"
    )
    mix = 1 / (1 + np.exp(-2 * _smooth_noise(shape, random.uniform(10, 25), random)))[..., None]
    rough = sum(_smooth_noise(shape, scale, random) for scale in (1.0, 2.5)) * random.uniform(14, 22)
    return first * mix + second * (1 - mix) + rough[..., None]


def _add_water(image, random) -> None:
    """Cover the lower part with waves."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(float)
    shore = height * random.uniform(0.5, 0.7) + 3 * np.sin(x / 17)
    waves = np.sin((y + 2 * np.sin(x / random.uniform(7, 10))) * 2 * np.pi / random.uniform(6, 8))
    colour = (
        _colour(random.uniform(190, 205), 0.55, 0.75)
        + (waves * 28 + _smooth_noise((height, width), 2, random) * 6)[..., None]
    )
    image[y > shore] = colour[y > shore]


def _add_object(image, truth, number: int, random) -> None:
    """Draw an object where it hides little of the others."""
    place, whole = _find_place(truth, number, random)
    kind = _KINDS[number]
    hue = kind.hue if random.rand() < _OWN_COLOUR else _HUES[random.randint(len(_HUES))]
    plain = _colour(hue + random.uniform(-12, 12), random.uniform(0.5, 0.75), random.uniform(0.6, 0.9))
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]].astype(float)
    x, y = place.to_object(x, y)
    shade = 1 - 0.18 * np.clip(y / place.half_length, -1, 1)
    image[whole] = (plain * shade[..., None])[whole]
    for outline in kind.telling:
        part = place.fill(outline, truth.shape)
        centre = outline.mean(0) * (place.mirror, 1) * place.half_length
        first = kind.pattern(x - centre[0], y - centre[1])
        image[part] = np.where(first[..., None], *np.array(kind.colours, float))[part]
    truth[whole] = number


def _find_place(truth, number: int, random) -> tuple:
    """Choose the best of some places: a `_Place` and the pixels of the whole object there."""
    kind, best = _KINDS[number], None
    there = max(np.count_nonzero(truth), 1)
    for _ in range(20):
        place = _Place.draw(number, truth.shape, random)
        whole = np.any([place.fill(outline, truth.shape) for outline in kind.plain + kind.telling], axis=0)
        hidden = np.count_nonzero(truth[whole]) / there
        if best is None or hidden < best[0]:
            best = hidden, place, whole
        if hidden < 0.01:
            break
    return best[1:]


@dataclass(frozen=True)
class _Place:
    """Where an object is, how large, how turned (radians), and whether it is mirrored (-1, else 1)."""

    centre: tuple
    half_length: float
    angle: float
    mirror: int

    @classmethod
    def draw(cls, number: int, shape, random) -> _Place:
        """Draw a place at random; boats lie low, where the water is."""
        half_length, angle = random.uniform(*_HALF_LENGTHS), np.deg2rad(random.uniform(-12, 12))
        mirror = -1 if random.rand() < 0.5 else 1
        x = random.uniform(0.85 * half_length, shape[1] - 0.85 * half_length)
        top = shape[0] * 0.45 if number == _BOAT else 0.6 * half_length
        return cls((x, random.uniform(top, shape[0] - 0.6 * half_length)), half_length, angle, mirror)

    def to_object(self, x, y) -> tuple:
        """Turn image coordinates into pixels along and across the object."""
        x, y = x - self.centre[0], y - self.centre[1]
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        return cosine * x + sine * y, cosine * y - sine * x

    def fill(self, outline, shape) -> np.ndarray:
        """The pixels within an outline: bool, of the given shape."""
        x, y = (outline * (self.mirror, 1) * self.half_length).T
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        points = np.stack([cosine * x - sine * y, sine * x + cosine * y], 1) + self.centre
        return cv2.fillPoly(np.zeros(shape, np.uint8), [np.round(points).astype(np.int32)], 1) > 0


def _saliency(truth, random) -> np.ndarray:
    """What a saliency network might say: the truth, blurred, uneven, with a false spot now and then."""
    map_ = (truth > 0) * (1 + 0.35 * _smooth_noise(truth.shape, 12, random))
    if random.rand() < 0.4:
        map_ = np.maximum(map_, 0.7 * (_smooth_noise(truth.shape, 14, random) > 2.2))
    map_ = cv2.GaussianBlur(map_, (0, 0), 3)
    return (np.clip(1.15 * map_ - 0.12, 0, 1) * 255).astype(np.uint8)
