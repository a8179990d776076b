"""A small painter: outlines in, image and exact part labels out.

Coordinates are label pixels, 0..64 from the left and from the top. A scene is painted four times
larger and reduced at the end: the image is averaged, the labels are picked, so no label is ever a
mixture.
"""

import numpy as np
from PIL import Image, ImageDraw

SIZE, SCALE = 64, 4


def ellipse(cx, cy, rx, ry, angle=0.0, n=40):
    """Outline [n, 2] of an ellipse turned by `angle` radians."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return turn(np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], 1), angle, (cx, cy))


def box(x0, y0, x1, y1):
    """Outline [4, 2] of an upright rectangle."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def smooth(points, per_segment=8, closed=True):
    """Catmull-Rom curve through `points` [n, 2]: a soft outline, or an open path when not
    `closed`.
    """
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
    """Outline of a thick path: `path` [n, 2] of joints, `widths` (one, or one a joint) across
    it.
    """
    p = smooth(path, closed=False)
    w = (
        np.interp(np.linspace(0, 1, len(p)), np.linspace(0, 1, np.size(widths)), np.ravel(widths))
        / 2
    )
    along = np.gradient(p, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / (
        np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    )
    return np.concatenate([p + normal * w[:, None], (p - normal * w[:, None])[::-1]])


def turn(points, angle, centre):
    """`points` [n, 2] turned by `angle` radians (clockwise on screen) around `centre`."""
    c, s = np.cos(angle), np.sin(angle)
    return (np.asarray(points, float) - centre) @ np.array([[c, s], [-s, c]]) + centre


def jitter(rng, colour, amount=0.06):
    """`colour` (r, g, b in 0..1) moved a little."""
    return np.clip(np.asarray(colour, float) + rng.normal(0, amount, 3), 0, 1)


class Canvas:
    """A picture of 64x64 label pixels in the making; all chance comes from `rng`."""

    def __init__(self, rng, background=(0.5, 0.5, 0.5), part=0):
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
        """Paint the inside of `outline`; `part` is its class id, None leaves the labels (a shadow,
        a highlight, a mark).

        texture: None, "stripes", "checks", "spots", "fur", "cloud"; `contrast` its strength;
        `shade` the fall of light across the shape; `clip`: paint only where the label is this id,
        or one of these ids.
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
        for plane, level in enumerate(
            np.asarray(colour, np.float32)
        ):  # one plane at a time: three times faster
            rgb, paint = self.rgb[window][..., plane], np.clip(level * tone, 0, 1)
            np.copyto(
                rgb,
                paint if opacity >= 1 else rgb + np.float32(opacity) * (paint - rgb),
                where=inside,
            )
        if part is not None:
            self.label[window][inside] = part

    def finish(self, noise=0.02, vignette=0.15, tint=0.05):
        """(image uint8 [64, 64, 3], label int64 [64, 64]): uneven light, a tint, averaging, sensor
        noise.
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
        c, s = np.float32(np.cos(self.light) / 1.42), np.float32(np.sin(self.light) / 1.42)
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
            cells = {"cloud": max(h, w) // 24, "fur": max(h, w) // 4, "spots": max(h, w) // 14}[
                kind
            ]
            field = self._cloud(shape, min(max(cells, 2), 64))
            return (
                np.where(field > 0.35, 1.0, -0.2).astype(np.float32) if kind == "spots" else field
            )
        y, x = np.mgrid[:h, :w].astype(np.float32)
        period, angle, phase = (
            self.rng.uniform(8, 24),
            self.rng.uniform(0, np.pi),
            self.rng.uniform(0, 6.3),
        )
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        if kind == "stripes":
            return np.sign(np.sin(u * 6.283 / period + phase))
        if kind == "checks":
            return np.sign(np.sin(u * 6.283 / period + phase) * np.sin(v * 6.283 / period))
        raise ValueError(
            f"unknown texture {kind!r}; choose from stripes, checks, spots, fur, cloud"
        )
