"""A small painter: outlines in, image and exact part labels out.

Coordinates are label pixels, 0..64 from the left and from the top. A scene is painted four times
larger and reduced at the end. The image is averaged. The labels are picked, so no label is a
mixture.
"""

import numpy as np
from PIL import Image, ImageDraw

SIZE = 64  # label pixels on a side
SCALE = 4  # painted pixels per label pixel


def ellipse(cx, cy, rx, ry, angle=0.0, n=40):
    """Outline [n, 2] of an ellipse turned by `angle` radians."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return turn(np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], 1), angle, (cx, cy))


def box(x0, y0, x1, y1):
    """Outline [4, 2] of an upright rectangle."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def smooth(points, per_segment=8, closed=True):
    """Catmull-Rom curve through `points` [n, 2]: an outline, or an open path if not `closed`."""
    p = np.asarray(points, float)
    ends = (p[-1:], p, p[:2]) if closed else (2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1])
    q = np.concatenate(ends)
    t = np.linspace(0, 1, per_segment, endpoint=False)[None, :, None]  # (1, T, 1)
    a, b, c, d = (q[i : len(q) - 3 + i, None] for i in range(4))  # (n, 1, 2) each
    curve = 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    )
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-1:]])


def limb(path, widths):
    """Outline of a thick path through the joints `path` [n, 2].

    widths: the path's width, one number or one per joint.
    """
    p = smooth(path, closed=False)
    joints = np.linspace(0, 1, np.size(widths))
    w = np.interp(np.linspace(0, 1, len(p)), joints, np.ravel(widths)) / 2
    along = np.gradient(p, axis=0)
    length = np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / length
    return np.concatenate([p + normal * w[:, None], (p - normal * w[:, None])[::-1]])


def turn(points, angle, centre):
    """`points` [n, 2] turned by `angle` radians (clockwise on screen) around `centre`."""
    c = np.cos(angle)
    s = np.sin(angle)
    return (np.asarray(points, float) - centre) @ np.array([[c, s], [-s, c]]) + centre


def jitter(rng, colour, amount=0.06):
    """`colour` (r, g, b in 0..1) moved a little."""
    return np.clip(np.asarray(colour, float) + rng.normal(0, amount, 3), 0, 1)


class Canvas:
    """A picture of 64x64 label pixels in the making; every random number comes from `rng`."""

    def __init__(self, rng, background=(0.5, 0.5, 0.5), part=0):
        """An empty picture of one colour and one class, with a random direction of the light."""
        side = SIZE * SCALE
        self.rng = rng
        self.rgb = np.empty((side, side, 3), np.float32)
        self.rgb[:] = background
        self.label = np.full((side, side), part, np.uint8)
        self.light = rng.uniform(0, 2 * np.pi)  # where the light comes from, for every shade

    def fill(
        self,
        outline,
        colour,
        part=None,
        texture=None,
        shade=0.15,
        contrast=0.12,
        clip=None,
        opacity=1.0,
    ):
        """Paint the inside of `outline` [n, 2] in `colour` (r, g, b in 0..1).

        part: its class id; None leaves the labels (a shadow, a highlight, a mark).
        texture: None, "stripes", "checks", "spots", "fur", "cloud"; `contrast` is its strength.
        shade: strength of the fall of light across the shape.
        clip: paint only where the label is this id, or one of these ids.
        """
        side = SIZE * SCALE
        points = np.asarray(outline, float) * SCALE
        x0, y0 = np.clip(np.floor(points.min(0)).astype(int), 0, side)
        x1, y1 = np.clip(np.ceil(points.max(0)).astype(int) + 1, 0, side)
        if x1 <= x0 or y1 <= y0:
            return
        stencil = Image.new("L", (int(x1 - x0), int(y1 - y0)))
        ImageDraw.Draw(stencil).polygon((points - (x0, y0)).ravel().tolist(), fill=1)
        inside = np.asarray(stencil, bool)
        window = (slice(y0, y1), slice(x0, x1))
        if clip is not None:
            allowed = np.zeros(256, bool)
            allowed[np.ravel(clip)] = True
            inside = inside & allowed[self.label[window]]
        tone = (
            1
            + np.float32(shade) * self._fall(inside.shape)
            + np.float32(contrast) * self._texture(texture, inside.shape)
        )
        # one plane at a time: three times faster
        for plane, level in enumerate(np.asarray(colour, np.float32)):
            rgb = self.rgb[window][..., plane]
            paint = np.clip(level * tone, 0, 1)
            if opacity < 1:
                paint = rgb + np.float32(opacity) * (paint - rgb)
            np.copyto(rgb, paint, where=inside)
        if part is not None:
            self.label[window][inside] = part

    def finish(self, noise=0.02, vignette=0.15, tint=0.05):
        """(image uint8 [64, 64, 3], label int64 [64, 64]), reduced to the final size.

        The image also gets uneven light, a tint and sensor noise.
        """
        rng = self.rng
        light = 1 + vignette * self._fall((SIZE, SIZE)) + 0.05 * self._cloud((SIZE, SIZE), 3)
        rgb = self.rgb.reshape(SIZE, SCALE, SIZE, SCALE, 3).mean(1).mean(2)
        rgb = rgb * light[..., None] * (1 + rng.normal(0, tint, 3))
        rgb = rgb * rng.uniform(0.75, 1.15) + rng.normal(
            0, noise * rng.uniform(0.3, 1.5), rgb.shape
        )
        image = (np.clip(rgb, 0, 1) * 255).round().astype(np.uint8)
        return image, self.label[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE].astype(np.int64)

    def _fall(self, shape):
        """Linear fall of light over a window, -1..1."""
        y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
        c = np.float32(np.cos(self.light) / 1.42)
        s = np.float32(np.sin(self.light) / 1.42)
        return c * x[None] + s * y[:, None]

    def _cloud(self, shape, cells):
        """Smooth noise, about -1..1, with `cells` cells across the window."""
        coarse = Image.fromarray(self.rng.normal(0, 0.6, (cells + 1, cells + 1)).astype(np.float32))
        return np.asarray(coarse.resize(shape[::-1], Image.BICUBIC))

    def _texture(self, kind, shape):
        """A field of about -1..1 over a window."""
        if kind is None:
            return np.float32(0)
        h, w = shape
        if kind in ("cloud", "fur", "spots"):
            cells = max(h, w) // {"cloud": 24, "fur": 4, "spots": 14}[kind]
            field = self._cloud(shape, min(max(cells, 2), 64))
            if kind == "spots":
                return np.where(field > 0.35, 1.0, -0.2).astype(np.float32)
            return field
        y, x = np.mgrid[:h, :w].astype(np.float32)
        period = self.rng.uniform(8, 24)
        angle = self.rng.uniform(0, np.pi)
        phase = self.rng.uniform(0, 6.3)
        u = x * np.cos(angle) + y * np.sin(angle)
        v = y * np.cos(angle) - x * np.sin(angle)
        if kind == "stripes":
            return np.sign(np.sin(u * 6.283 / period + phase))
        if kind == "checks":
            return np.sign(np.sin(u * 6.283 / period + phase) * np.sin(v * 6.283 / period))
        raise ValueError(
            f"unknown texture {kind!r}; choose from stripes, checks, spots, fur, cloud"
        )
