"""Bedrooms: a room in perspective with a bed, things on the walls and furniture.

The bed stands with its head to the back wall, or along it. Lengths are in metres.
"""

import numpy as np

from .canvas import Canvas, box, ellipse, jitter, smooth

SEED = 0
NAMES = [
    "clutter",
    "wall",
    "floor",
    "ceiling",
    "bed",
    "headboard",
    "pillow",
    "window",
    "curtain",
    "lamp",
    "picture",
    "nightstand",
    "door",
]
(
    CLUTTER,
    WALL,
    FLOOR,
    CEILING,
    BED,
    HEADBOARD,
    PILLOW,
    WINDOW,
    CURTAIN,
    LAMP,
    PICTURE,
    NIGHTSTAND,
    DOOR,
) = range(13)
CLOTH = np.array(
    [
        (0.80, 0.34, 0.30),
        (0.90, 0.60, 0.36),
        (0.93, 0.80, 0.46),
        (0.50, 0.66, 0.48),
        (0.34, 0.52, 0.50),
        (0.36, 0.50, 0.72),
        (0.56, 0.70, 0.84),
        (0.55, 0.42, 0.62),
        (0.88, 0.66, 0.70),
        (0.93, 0.90, 0.84),
        (0.30, 0.32, 0.46),
        (0.72, 0.70, 0.68),
    ]
)
WOOD = np.array(
    [
        (0.76, 0.56, 0.36),
        (0.58, 0.38, 0.24),
        (0.40, 0.26, 0.18),
        (0.86, 0.72, 0.52),
        (0.90, 0.88, 0.84),
        (0.66, 0.46, 0.34),
    ]
)
SHARED = (
    ("headboard", "wood", 0.6),
    ("stand", "wood", 0.6),
    ("door", "wood", 0.4),
    ("chair", "wood", 0.4),
    ("floor", "wood", 0.3),
    ("curtain", "bed", 0.35),
    ("wall", "pillow", 0.3),
    ("pillow", "bed", 0.25),
    ("rug", "bed", 0.3),
    ("shade", "curtain", 0.25),
    ("door", "wall", 0.15),
    ("fold", "pillow", 0.4),
)
X, Y, Z = np.eye(3)
COMPASS = ellipse(0, 0, 1, 1, n=24)


def palette(rng):
    """Colours by part; SHARED says which part takes whose colour, and how often."""

    def cloth():
        """A colour of CLOTH, moved a little."""
        return jitter(rng, rng.choice(CLOTH), 0.04)

    def wood():
        """A colour of WOOD, moved a little."""
        return jitter(rng, rng.choice(WOOD), 0.03)

    look = {
        part: cloth() for part in ("bed", "curtain", "cushion", "rug", "headboard", "vase", "chair")
    }
    look |= {part: wood() for part in ("wood", "stand", "door", "floor")}
    look |= dict(
        wall=cloth() * 0.65 + 0.3,
        pillow=cloth() * 0.5 + 0.45,
        sheet=cloth() * 0.2 + 0.72,
        fold=cloth() * 0.4 + 0.5,
        trim=jitter(rng, (0.92, 0.9, 0.86), 0.03),
        shade=jitter(rng, (0.97, 0.88, 0.62)),
        night=rng.random() < 0.35,
    )
    for part, like, often in SHARED:
        if rng.random() < often:
            look[part] = jitter(rng, look[like], 0.02)
    return look | dict(ceiling=look["wall"] * 0.35 + 0.58)


class Room:
    """A canvas behind a pinhole camera.

    Points are in metres: x to the right, y up, z from the back wall to the viewer.
    """

    def __init__(self, rng, target, yaw):
        """A camera that looks at `target` from a random distance and height, turned by `yaw`."""
        self.rng = rng
        self.canvas = Canvas(rng)
        self.look = palette(rng)
        self.forward = np.sin(yaw) * X - np.cos(yaw) * Z
        self.right = np.cos(yaw) * X + np.sin(yaw) * Z
        self.eye = target - self.forward * rng.uniform(3.3, 4.3) + Y * rng.uniform(1.2, 1.75)
        self.focal = rng.uniform(58, 78)
        self.horizon = rng.uniform(22, 31)
        self.mirror = rng.choice([-1, 1])

    def see(self, points, near=0.25):
        """Screen outline of a polygon [n, 3], cut off just before the camera."""
        p = np.asarray(points, float) - self.eye
        depth = p @ self.forward
        if depth.min() < near:
            step = np.roll(depth, -1) - depth
            seen = depth > near
            share = (near - depth) / np.where(step == 0, 1, step)
            cut = p + (np.roll(p, -1, 0) - p) * share[:, None]
            p = np.stack([p, cut], 1)[np.stack([seen, seen != np.roll(seen, -1)], 1)]
            depth = p @ self.forward
        scale = self.focal / depth
        x = 32 + self.mirror * scale * (p @ self.right)
        y = self.horizon - scale * p[:, 1]
        return np.stack([x, y], 1)

    def spot(self, point):
        """(x, y) on screen of a point, and the pixels a metre measures there."""
        return *self.see([point])[0], self.focal / ((point - self.eye) @ self.forward)

    def fill(self, points, colour, part, **how):
        """A flat polygon [n, 3]; `how` as for `Canvas.fill`."""
        outline = self.see(points)
        if len(outline) > 2:
            self.canvas.fill(outline, colour, part, **how)

    def flat(self, plane, outline, colour, part, **how):
        """An outline [n, 2] on a plane [3, 3]: an origin and two axes."""
        self.fill(plane[0] + np.asarray(outline, float) @ plane[1:], colour, part, **how)

    def hull(self, points, colour, part, **how):
        """The silhouette of a convex solid, given by points [n, 3] of its surface."""
        p = self.see(points)
        self.canvas.fill(p[np.argmax(p @ COMPASS.T, 0)], colour, part, **how)

    def cuboid(self, lo, hi, colour, part, wave=0.0, **how):
        """The faces of an upright box that look at the camera; `wave` ruffles the lower hem."""
        ends = np.sort([lo, hi], axis=0)
        for axis, u, v, tone in ((1, 0, 2, 1.06), (0, 2, 1, 0.78), (2, 0, 1, 0.9)):
            side = int(self.eye[axis] > ends[1, axis])
            if side or self.eye[axis] < ends[0, axis]:
                run = np.linspace(*ends[:, u], 24 if wave else 2)
                hem = ends[0, v] + wave * (v == 1) * np.sin(run * 14)
                face = np.full((len(run) + 2, 3), ends[side])
                face[:, u] = [*run, *ends[::-1, u]]
                face[:, v] = [*hem, ends[1, v], ends[1, v]]
                self.fill(face, np.asarray(colour) * tone, part, **how)

    def turned(self, foot, profile, colour, part):
        """A solid of revolution: `profile` lists (height, radius)."""
        rings = [foot + h * Y + r * (COMPASS[::2] @ [X, Z]) for h, r in profile]
        for a, b in zip(rings, rings[1:]):
            self.hull(np.concatenate([a, b]), colour, part)


def shell(room, width, height):
    """Floor, ceiling, walls and at times a rug.

    Returns the planes [3, 3] of the back wall and of the side wall at small x.
    """
    rng = room.rng
    look = room.look
    far = 6.0
    x0 = min(0, room.eye[0] - 0.4)
    x1 = max(width, room.eye[0] + 0.4)
    back = np.stack([0 * X, X, Y])
    left = np.stack([x0 * X, Z, Y])
    right = np.stack([x1 * X, Z, Y])
    floor = np.stack([0 * X, X, Z])
    paper = rng.choice([None, None, "stripes", "spots", "checks"])
    room.flat(floor, box(x0, 0, x1, far), look["floor"], FLOOR)
    if rng.random() < 0.6:
        x = np.repeat(np.arange(x0, x1, 0.25), 2)
        boards = np.stack([x, np.resize([0, far, far, 0], len(x))], 1)
        room.flat(floor, boards, look["floor"] * 0.88, None)
    ceiling = floor + [height * Y, 0 * X, 0 * X]
    room.flat(ceiling, box(x0, 0, x1, far), look["ceiling"], CEILING, shade=0.08)
    for plane, a, b, tone in ((back, x0, x1, 1.0), (left, 0, far, 0.82), (right, 0, far, 0.9)):
        wall = box(a, 0, b, height)
        room.flat(plane, wall, look["wall"] * tone, WALL, texture=paper, contrast=0.08)
    room.flat(back, box(x0, 0, x1, 0.12), look["trim"], WALL)
    if rng.random() < 0.45:
        rug = ellipse(0, 0, 1.3, 0.7) if rng.random() < 0.5 else box(-1.3, -0.7, 1.3, 0.7)
        for size, tone in ((1, 1), (0.8, 0.85)):
            weave = rng.choice([None, "checks"])
            outline = rug * size + (width / 2, 2.1)
            room.flat(floor, outline, look["rug"] * tone, FLOOR, texture=weave)
    return back, left


def window(room, plane, u, low, half, high=2.1):
    """A window on hills by day or by night, `half` wide on both sides of `u`, mostly curtained."""
    rng = room.rng
    frame = box(u - half - 0.07, low - 0.07, u + half + 0.07, high + 0.07)
    room.flat(plane, frame, room.look["trim"], WINDOW)
    if room.look["night"]:
        sky = (0.14, 0.17, 0.34)
        land = (0.16, 0.22, 0.26)
    else:
        sky = (0.62, 0.82, 0.95)
        land = (0.50, 0.68, 0.42)
    room.flat(plane, box(u - half, low, u + half, high), jitter(rng, sky), WINDOW)
    x = np.linspace(-half, half, 12)
    top = low + (high - low) * (0.3 + 0.12 * np.sin(x * rng.uniform(2, 7) + rng.uniform(0, 6)))
    hills = [*zip(u + x, top), (u + half, low), (u - half, low)]
    room.flat(plane, hills, jitter(rng, land), WINDOW)
    sun = ellipse(u + rng.uniform(-0.6, 0.6) * half, high - 0.25, 0.11, 0.11)  # or the moon
    room.flat(plane, sun, (0.98, 0.95, 0.75), WINDOW)
    x = half
    y = (high - low) / 2
    e = 0.03
    cross = [
        (-x, -e),
        (-e, -e),
        (-e, -y),
        (e, -y),
        (e, -e),
        (x, -e),
        (x, e),
        (e, e),
        (e, y),
        (-e, y),
        (-e, e),
        (-x, e),
    ]
    room.flat(plane, np.add(cross, (u, (low + high) / 2)), room.look["trim"], WINDOW)
    if rng.random() < 0.85:
        curtains(room, plane, u, low - rng.choice([0.2, 0.7]), half, high + 0.15)


def curtains(room, plane, u, hem, half, high):
    """A pair of curtains and their rail, from `hem` up to `high`."""
    rng = room.rng
    colour = room.look["curtain"]
    weave = rng.choice([None, "stripes", "spots"])
    gap = half * rng.uniform(0.4, 0.75)
    knot = rng.choice([0, 0, 0.3])
    inner = [
        (gap, high),
        (gap + knot * 0.3, (hem + high) / 2 + 0.1),
        (gap + knot, hem + 0.4),
        (gap + knot * 0.4, hem),
    ]
    edge = smooth(inner, closed=False)
    outer = half + 0.3
    for side in (-1, 1):
        drape = np.array([*edge, (outer, hem), (outer, high)])
        room.flat(plane, drape * (side, 1) + (u, 0), colour, CURTAIN, texture=weave)
        line = edge * (0.5, 1) + (outer * 0.5, 0)
        fold = np.array([*line, *(line[::-1] + (0.08, 0))])
        room.flat(plane, fold * (side, 1) + (u, 0), colour * 0.75, None)
    rail = box(u - half - 0.36, high - 0.02, u + half + 0.36, high + 0.05)
    room.flat(plane, rail, room.look["wood"] * 0.7, CURTAIN)


def picture(room, plane, u, v, half, tall):
    """A framed picture with its middle at (u, v)."""
    rng = room.rng
    look = room.look
    frame = box(-half, -tall, half, tall) + (u, v)
    inner = box(0.06 - half, 0.06 - tall, half - 0.06, tall - 0.06) + (u, v)
    room.flat(plane, frame, rng.choice([look["wood"], look["trim"], look["wood"] * 0.4]), PICTURE)
    paper = rng.choice([look["trim"], rng.choice(CLOTH)])
    room.flat(plane, inner, jitter(rng, paper), PICTURE)
    for _ in range(2):
        x = u + rng.uniform(-0.4, 0.4) * half
        y = v + rng.uniform(-0.4, 0.4) * tall
        blot = ellipse(x, y, half * 0.4, tall * 0.35)
        room.flat(plane, blot, jitter(rng, rng.choice(CLOTH)), PICTURE)


def door(room, plane, u):
    """A door with two panels and a handle, its middle at `u`."""
    colour = room.look["door"]
    room.flat(plane, box(u - 0.50, 0, u + 0.50, 2.1), room.look["trim"] * 0.92, DOOR)
    room.flat(plane, box(u - 0.42, 0, u + 0.42, 2.02), colour, DOOR)
    for low, high in ((1.1, 1.85), (0.2, 0.9)):
        room.flat(plane, box(u - 0.3, low, u + 0.3, high), colour * 0.8, DOOR)
    room.flat(plane, ellipse(u + 0.35, 1.0, 0.06, 0.06), (0.85, 0.72, 0.35), DOOR)


def dress_walls(room, slots):
    """Door, window and pictures, each in a slot (plane, from, to, lowest height) of its own."""
    rng = room.rng
    slots = [slots[i] for i in rng.permutation(len(slots))]

    def place(a, b, half):
        """A random middle between `a` and `b` for a thing `half` wide on both sides of it."""
        return (a + b) / 2 + rng.uniform(-0.5, 0.5) * max(b - a - 2 * half, 0)

    for draw, often, need in ((door, 0.55, 1.0), (window, 0.9, 1.25)):
        fitting = [
            i
            for i, (_, a, b, low) in enumerate(slots)
            if b - a > need and (draw is window or low == 0)
        ]
        if fitting and rng.random() < often:
            plane, a, b, low = slots.pop(fitting[0])
            if draw is door:
                door(room, plane, place(a, b, 0.8))
            else:
                half = min((b - a) / 2 - 0.3, rng.uniform(0.45, 0.8))
                u = place(a, b, half + 0.3)
                window(room, plane, u, max(low, rng.uniform(0.8, 1.1)), half)
    for plane, a, b, low in slots:
        if b - a > 0.6 and rng.random() < 0.8:
            half = min((b - a) / 2 - 0.08, rng.uniform(0.2, 0.42))
            u = place(a, b, half)
            v = max(low + 0.35, rng.uniform(1.5, 1.75))
            picture(room, plane, u, v, half, rng.uniform(0.22, 0.36))


def headboard(room, at, wide, tall):
    """A board at the head of the bed, straight or curved at its top; `at` as in `scene`."""
    s = np.linspace(0, 1, 25)
    bumps = [
        0 * s,
        0.25 * np.sin(np.pi * s),
        0.13 * np.abs(np.sin(3 * np.pi * s)),
        0.2 * np.exp(-(((s - 0.5) / 0.22) ** 2)),
    ]
    rim = np.stack([s, tall + room.rng.choice(bumps)], 1)
    for depth, inset, tone in (
        (0, 1, 0.7),
        (0.1, 1, 1.0),
        (0.1, room.rng.choice([0.8, 0.9]), 0.86),
    ):
        upper = (rim - (0.5, 0)) * inset + (0.5, 0)
        lower = ((0.5 + inset / 2, 0.1), (0.5 - inset / 2, 0.1))
        outline = [at(wide * a, b, depth) for a, b in (*upper, *lower)]
        room.fill(outline, room.look["headboard"] * tone, HEADBOARD)


def pillows(room, at, wide, top):
    """One or two pillows against the headboard, at times with small cushions before them.

    Each is a rounded box that leans back.
    """
    rng = room.rng
    count = int(rng.choice([1, 2, 2, 3, 4]))
    t = np.linspace(-1.5, 1.5, 6)[:, None, None]  # (6, 1, 1)
    ring = np.sign(COMPASS) * np.abs(COMPASS) ** 0.6 * np.cos(t) ** 0.6
    solid = np.concatenate([ring, np.broadcast_to(np.sin(t), (6, 24, 1))], 2).reshape(-1, 3)
    axes = np.stack([at(*p) - at(0, 0, 0) for p in np.eye(3)])
    for k in range(count):
        row = min(count, 2)
        lean = rng.uniform(0.9, 1.4)
        if k < 2:  # a pillow
            s = wide * ((k % 2 + 0.5) / row)
            half = min(wide / row / 2 - 0.03, 0.42)
            tall = 0.25
            out = 0.26
            colour = room.look["pillow"]
        else:  # a cushion
            s = wide * (0.5 + rng.uniform(-0.15, 0.15))
            half = 0.25
            tall = 0.19
            out = 0.4 + 0.1 * k
            colour = room.look["cushion"]
        tilt = [(1, 0, 0), (0, np.sin(lean), -np.cos(lean)), (0, np.cos(lean), np.sin(lean))]
        body = solid * (half, tall, 0.1) @ np.array(tilt) @ axes
        middle = at(s, top + tall * 0.8, out)
        for size, tone, part, opacity in (
            (1.12, 0.5, None, 0.35),
            (1, 0.9, PILLOW, 1),
            (0.72, 1.05, None, 1),
        ):
            room.hull(middle + size * body, colour * tone, part, opacity=opacity)


def bed(room, at, wide, long, top):
    """A bed with headboard, sheet, blanket and pillows, at times a footboard and a cat on it.

    at: see `scene`; `top` is the height of the mattress.
    """
    rng = room.rng
    look = room.look
    start = rng.uniform(0.6, 0.95)
    foot = rng.random() < 0.35
    hem = rng.choice([0.08, 0.25])
    spread = rng.choice([None, None, "stripes", "checks", "spots", "cloud"])
    shadow = [at(s, 0, t) for s in (-0.12, wide + 0.12) for t in (0, long + 0.1)]
    room.hull(shadow, (0.1, 0.08, 0.1), None, opacity=0.35, clip=FLOOR)
    headboard(room, at, wide, rng.uniform(0.95, 1.3))
    room.cuboid(at(0, 0.1, 0.1), at(wide, 0.32, long), look["wood"], BED)
    room.cuboid(at(0.03, 0.32, 0.1), at(wide - 0.03, top, long - 0.03), look["sheet"], BED)
    end = at(wide + 0.05, top + 0.05, long + 0.03 * (not foot))
    room.cuboid(at(-0.05, hem, start), end, look["bed"], BED, 0.025, texture=spread)
    lo = at(-0.05, top - 0.16, start - 0.12)
    hi = at(wide + 0.05, top + 0.07, start + 0.1)
    room.cuboid(lo, hi, look["fold"], BED, 0.01)
    pillows(room, at, wide, top)
    if rng.random() < 0.22:
        cat(room, at(wide * rng.uniform(0.25, 0.75), top + 0.05, rng.uniform(1.2, long - 0.3)))
    if foot:
        end = at(wide, rng.uniform(0.5, 0.75), long + 0.08)
        room.cuboid(at(0, 0.1, long), end, look["wood"], BED)


def lamp(room, foot, stem, spread):
    """A lamp on a table or on the floor; at night it lights what is behind it."""
    look = room.look
    x, y, m = room.spot(foot + (stem + 0.1) * Y)
    if look["night"]:
        glow = ellipse(x, y, 0.6 * m, 0.6 * m)
        room.canvas.fill(glow, (1, 0.9, 0.6), None, opacity=0.22, shade=0)
    belly = ((stem * 0.5, 0.13), (stem, 0.05)) if stem < 0.6 else ((0.06, 0.04), (stem, 0.04))
    room.turned(foot, [(0, spread * 0.5), *belly], look["vase"], LAMP)
    shade = [(stem, spread), (stem + 0.32, spread * room.rng.uniform(0.55, 0.95))]
    room.turned(foot, shade, look["shade"], LAMP)


def hanging_lamp(room, foot, height):
    """A lamp that hangs from the ceiling at `height`, above the point `foot` on the floor."""
    low = height - room.rng.uniform(0.7, 0.95)
    r = room.rng.uniform(0.2, 0.32)
    room.turned(foot, [(low + 0.28, 0.02), (height, 0.02)], room.look["wood"] * 0.4, LAMP)
    shade = [(low, r), (low + 0.28, r * room.rng.choice([0.3, 0.9]))]
    room.turned(foot, shade, room.look["shade"], LAMP)


def nightstand(room, lo, hi):
    """A nightstand with two drawers between the corners `lo` and `hi`."""
    colour = room.look["stand"]
    front = np.stack([lo * X + hi * Z, X, Y])
    room.cuboid(lo + 0.1 * Y, hi, colour, NIGHTSTAND)
    for y in (0.14, hi[1] / 2 + 0.06):
        room.flat(front, box(0.05, y, 0.45, y + hi[1] / 2 - 0.12), colour * 0.78, NIGHTSTAND)
    room.flat(front, ellipse(0.25, hi[1] / 2 + 0.04, 0.04, 0.1), (0.9, 0.8, 0.5), NIGHTSTAND)


def cat(room, foot):
    """A cat lying on the blanket or the floor."""
    furs = [(0.25, 0.24, 0.26), (0.85, 0.55, 0.28), (0.92, 0.88, 0.82), room.look["bed"]]
    fur = jitter(room.rng, room.rng.choice(furs))
    x, y, m = room.spot(foot)
    parts = [
        ellipse(0, -0.12, 0.27, 0.15),
        ellipse(0.2, -0.22, 0.13, 0.12),
        ellipse(-0.1, -0.03, 0.2, 0.05),
    ]
    parts += [
        np.array([(e - 0.05, -0.28), (e + 0.07, -0.28), (e + 0.01, -0.42)]) for e in (0.12, 0.25)
    ]
    for outline, tone in zip(parts, (1, 1.12, 0.8, 0.9, 0.9)):
        room.canvas.fill(outline * m + (x, y), fur * tone, CLUTTER)


def plant(room, foot):
    """A plant with five leaves in a pot."""
    room.turned(foot, [(0, 0.13), (0.3, 0.18)], room.look["vase"], CLUTTER)
    x, y, m = room.spot(foot + 0.3 * Y)
    for a in np.linspace(-1.1, 1.1, 5) + room.rng.normal(0, 0.15, 5):
        tip = room.rng.uniform(0.2, 0.4)
        leaf = ellipse(np.sin(a) * tip, -np.cos(a) * tip, 0.09, tip, a) * m + (x, y)
        room.canvas.fill(leaf, jitter(room.rng, (0.32, 0.55, 0.32)), CLUTTER)


def chair(room, foot):
    """A chair with four legs, a seat and a back."""
    colour = room.look["chair"]
    for x, z in ((-0.18, -0.18), (0.18, -0.18), (-0.18, 0.18), (0.18, 0.18)):
        room.turned(foot + (x, 0, z), [(0, 0.03), (0.42, 0.03)], colour * 0.7, CLUTTER)
    room.cuboid(foot + (-0.23, 0.4, -0.23), foot + (0.23, 0.47, 0.23), colour, CLUTTER)
    room.cuboid(foot + (-0.23, 0.47, -0.23), foot + (0.23, 0.95, -0.17), colour, CLUTTER)


def pile(room, foot):
    """One to three boxes or books on top of each other."""
    rng = room.rng
    y = 0.0
    for h, w, d in rng.uniform((0.07, 0.15, 0.15), (0.24, 0.28, 0.28), (rng.integers(1, 4), 3)):
        colour = jitter(rng, rng.choice(CLOTH))
        room.cuboid(foot + (-w, y, -d), foot + (w, y + h, d), colour, CLUTTER)
        y += h


def furnish(room, lo, hi, side_on):
    """What stands around the bed, whose footprint is lo..hi.

    Returns a list of (nearer than the bed, minus the distance, function that draws it).
    """
    rng = room.rng
    eye = room.eye
    things = []
    tall = rng.uniform(0.45, 0.65)

    def add(a, b, draw, *where):
        """Add a thing between the corners `a` and `b`, drawn by `draw(room, *where)`."""
        nearer = any((a[k] >= hi[k] < eye[k]) or (b[k] <= lo[k] > eye[k]) for k in (0, 2))
        things.append((nearer, -np.linalg.norm((a + b) / 2 - eye), lambda: draw(room, *where)))

    for x in (hi[0] + 0.1,) if side_on else (lo[0] - 0.6, hi[0] + 0.1):
        a = np.array([x, 0, 0.05])
        b = np.array([x + 0.5, tall, 0.5])
        if rng.random() < 0.8:
            add(a, b, nightstand, a, b)
            if rng.random() < 0.75:
                add(a, b - 0.1 * Y, lamp, (a + b) / 2 * (X + Z) + tall * Y, 0.22, 0.23)
    feet = [
        (lo[0] - 0.6, rng.uniform(1, 2)),
        (hi[0] + 0.6, rng.uniform(1, 2)),
        (rng.uniform(lo[0], hi[0]), hi[2] + 0.4),
    ]
    for i in rng.permutation(3)[: rng.choice([1, 2, 2, 3])]:
        foot = feet[i][0] * X + feet[i][1] * Z
        draw = [plant, chair, pile, cat][rng.integers(4)]
        if i < 2 and rng.random() < 0.2:
            add(foot - 0.2, foot + 0.2, lamp, foot, 1.3, 0.25)
        else:
            add(foot - 0.2, foot + 0.2, draw, foot)
    return things


def scene(rng):
    """A Canvas with a bedroom, painted from the farthest thing to the nearest."""
    side_on = rng.random() < 0.4
    width = rng.uniform(3.8, 4.8)
    height = rng.uniform(2.3, 2.75)
    wide = rng.uniform(1.1, 1.8)
    long = rng.uniform(1.9, 2.1)
    top = rng.uniform(0.45, 0.6)
    start = rng.uniform(0.1, 0.9) if side_on else rng.uniform(0.8, width - wide - 0.8)
    gap = rng.uniform(0.05, 0.5)

    def at(s, y, t):
        """The point [3] `s` across, `y` up and `t` along the bed from the corner of its head."""
        return np.array((start + t, y, gap + s) if side_on else (start + s, y, t))

    lo = at(0, 0, 0)
    hi = at(wide, top, long)
    yaw = rng.uniform(-0.75, -0.1) if side_on else rng.uniform(-0.75, 0.1)
    room = Room(rng, ((lo + hi) / 2 * 0.6 + width * 0.2) * X + 0.8 * Z, yaw)
    back, left = shell(room, width, height)
    spans = (0.1, lo[0] - 0.05, 0), (lo[0], hi[0], 1.25), (hi[0] + 0.05, width - 0.1, 0)
    dress_walls(room, [(back, *span) for span in spans] + [(left, 0.4, 2, 0)] * (yaw < -0.1))
    if rng.random() < 0.35:
        hanging_lamp(room, rng.uniform(0.3, 0.7) * width * X + rng.uniform(0.4, 1.2) * Z, height)
    things = furnish(room, lo, hi, side_on) + [(0.5, 0, lambda: bed(room, at, wide, long, top))]
    for *_, draw in sorted(things, key=lambda thing: thing[:2]):
        draw()
    return room.canvas
