"""Cats that sit, walk or lie, in rooms, in gardens and on walls.

A coat's colours run across the parts of the body.
"""

import numpy as np

from .canvas import Canvas, box, ellipse, jitter, limb, smooth, turn

SEED = 2
NAMES = ["background", "back", "belly", "leg", "paw", "head", "ear", "eye", "nose", "tail"]
BACKGROUND, BACK, BELLY, LEG, PAW, HEAD, EAR, EYE, NOSE, TAIL = range(len(NAMES))
BODY = (BACK, BELLY, LEG, PAW, TAIL)

FURS = [
    (0.85, 0.52, 0.22),
    (0.93, 0.76, 0.52),
    (0.50, 0.48, 0.48),
    (0.20, 0.19, 0.21),
    (0.92, 0.90, 0.86),
    (0.46, 0.31, 0.20),
    (0.66, 0.64, 0.62),
    (0.72, 0.58, 0.42),
]
WHITE = np.array((0.95, 0.93, 0.89))
PINK = np.array((0.90, 0.55, 0.55))
DARK = np.array((0.07, 0.06, 0.07))
IRIS = [
    (0.55, 0.78, 0.25),
    (0.95, 0.78, 0.18),
    (0.40, 0.70, 0.92),
    (0.90, 0.55, 0.12),
    (0.30, 0.72, 0.60),
]
ROOM = np.array(
    [
        (0.90, 0.82, 0.66),
        (0.62, 0.72, 0.58),
        (0.52, 0.66, 0.78),
        (0.80, 0.50, 0.38),
        (0.86, 0.70, 0.36),
        (0.82, 0.60, 0.62),
        (0.50, 0.40, 0.55),
        (0.34, 0.58, 0.58),
        (0.80, 0.80, 0.78),
        (0.56, 0.42, 0.32),
    ]
)
PATTERNS = ("plain", "tabby", "patches", "tuxedo", "points")
ODDS = (0.27, 0.33, 0.2, 0.12, 0.08)


class Cat:
    """One cat's coat and place.

    It paints outlines [n, 2] in cat pixels, 0..64 and facing left, onto the canvas.
    """

    def __init__(self, canvas, rng):
        """A cat of random pattern, colours, size, place and facing."""
        self.canvas = canvas
        self.rng = rng
        self.pattern = rng.choice(PATTERNS, p=ODDS)
        self.fur = jitter(rng, FURS[rng.integers(len(FURS))], 0.04)
        if self.fur.mean() > 0.35:  # marks must stand out from the fur
            mark = self.fur * rng.uniform(0.4, 0.6)
        else:
            mark = self.fur + rng.uniform(0.2, 0.4)
        self.mark = jitter(rng, mark, 0.03)
        self.pale = self.fur + rng.choice([0, 0.25, 0.6]) * (WHITE - self.fur)
        self.colours = {part: self.fur for part in range(len(NAMES))} | {NOSE: self.pale}
        if self.pattern == "tuxedo":
            self.colours |= {BELLY: WHITE, PAW: WHITE, NOSE: WHITE}
        if self.pattern == "points":
            self.colours |= {PAW: self.mark, EAR: self.mark, TAIL: self.mark, NOSE: self.mark}
        elif rng.random() < 0.4:
            self.colours[BELLY] = self.fur + 0.3 * (WHITE - self.fur)
        size = rng.uniform(0.86, 1.16)
        self.size = size * np.array([rng.choice([-1, 1]) * rng.uniform(0.92, 1.08), 1])
        self.at = np.array([32, 33]) + rng.normal(0, (2.2, 1.5)) + (0, 12 * (1 - size))

    def place(self, points):
        """Label pixels [n, 2] of points [n, 2] in cat pixels."""
        return (np.asarray(points, float) - 32) * self.size + self.at

    def put(self, outline, part, colour=None, edge=0.45, dim=1.0, **how):
        """One part with a soft dark edge (on black fur a light one) towards what lies behind it."""
        outline = self.place(outline)
        colour = np.asarray(self.colours[part] if colour is None else colour) * dim
        if edge:
            rim = colour * 0.45 if colour.mean() > 0.25 else colour + 0.2
            self.canvas.fill(swell(outline, 0.45), rim, opacity=edge, shade=0)
        self.canvas.fill(outline, colour, part, **how)

    def touch(self, outline, colour, **how):
        """A mark that belongs to no part of its own."""
        self.canvas.fill(self.place(outline), colour, shade=0, **how)

    def bands(self, path, length, part, n):
        """Tabby stripes across a path."""
        if self.pattern != "tabby":
            return
        p = smooth(path, closed=False)
        for i in np.linspace(1, len(p) - 2, n).astype(int):
            along = p[i + 1] - p[i - 1]
            across = along[::-1] * (1, -1) / np.linalg.norm(along) * length / 2
            bend = self.rng.normal(0, 0.5, 2)
            band = limb([p[i] - across, p[i] + bend, p[i] + across], (0.7, 1.9, 0.7))
            self.touch(band, self.mark, clip=part, opacity=0.8)


def swell(outline, by):
    """The outline moved outwards by `by` pixels."""
    along = np.roll(outline, -1, 0) - np.roll(outline, 1, 0)
    out = along[:, ::-1] * (1, -1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
    x, y = outline.T
    area = np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))
    return outline + by * np.sign(area) * out


def leg(cat, path, widths, dim=1.0):
    """A leg along `path`, hip to ankle, and its paw."""
    x, y = path[-1]
    cat.put(limb(path, widths), LEG, dim=dim, texture="fur")
    cat.bands(path[-2:], widths[0], LEG, 3)
    paw(cat, x - 1.2, y, dim)


def paw(cat, x, y, dim=1.0):
    """A paw at (x, y), with marks between the toes unless it is dimmed."""
    cat.put(ellipse(x, y, 3.9, 2.7, n=20), PAW, edge=0.45 * (dim == 1), dim=dim)
    if dim == 1:
        toes = [(-1.6, 2.6), (-1.3, 0.5), (-1, 2.6), (0.6, 2.6), (0.9, 0.5), (1.2, 2.6)]
        cat.touch(np.array(toes) + (x, y), cat.colours[PAW] * 0.45, clip=PAW)


def tail(cat, path, width):
    """A tail along `path`, root to tip, `width` wide at its root."""
    cat.put(limb(path, (width, width, width * 0.85, width * 0.5)), TAIL)
    cat.put(ellipse(*path[-1], width * 0.42, width * 0.42), TAIL, edge=0)
    cat.bands(path, width * 1.3, TAIL, 6)


def torso(cat, outline, belly, spine):
    """Back and belly: the belly lies within the torso's outline."""
    cat.put(smooth(outline), BACK, texture="fur")
    cat.put(smooth(belly), BELLY, edge=0, clip=BACK, texture="fur")
    cat.bands(spine, 9, (BACK,), 6)


def patches(cat):
    """Large blots of a second colour across the whole body, whatever the part."""
    for _ in range(cat.rng.integers(2, 5) if cat.pattern == "patches" else 0):
        x, y = cat.rng.uniform((16, 26), (56, 56))
        blot = ellipse(x, y, *cat.rng.uniform(4, 9, 2), cat.rng.uniform(0, 3), n=9)
        blot = blot + cat.rng.normal(0, 1, (9, 2))
        cat.touch(smooth(blot, 4), cat.mark, clip=BODY, opacity=0.85)


def head(cat, spot, tilt, r):
    """A head at `spot` (x, y, yaw: -1 looks left, 0 at us), tilted, of size `r`."""
    x, y, yaw = spot

    def at(points):
        """Cat pixels [n, 2] of points [n, 2] of an upright head at (0, 0)."""
        return turn(np.asarray(points, float) * r, tilt, (0, 0)) + (x, y)

    for side in (-1, 1):
        ear = np.array([(10.2, 0), (11, -6), (10.3, -14.5), (6, -12), (1.8, -7.5), (4, -2)])
        ear = ear * (side, 1)
        inner = (ear - ear[2]) * 0.6 + ear[2] + (-0.6 * side, 2.2)
        cat.put(at(ear), EAR)
        cat.put(at(inner), EAR, PINK, edge=0, opacity=0.6)
    half = np.array([(0, -8.6), (5.5, -8), (9.6, -4), (11.6, 2.5), (8.6, 6.6), (4, 8.6)])
    skull = np.concatenate([half, [(0, 9)], half[:0:-1] * (-1, 1)])
    cat.put(at(smooth(skull)), HEAD, texture="fur")
    if cat.pattern == "patches":
        blot = ellipse(cat.rng.choice([-6, 6]), -5, 5.5, 7)
        cat.touch(at(blot), cat.mark, clip=(HEAD, EAR), opacity=0.85)
    cat.bands([at([(-4 + yaw * 2, -6)])[0], at([(4 + yaw * 2, -6)])[0]], 5.5 * r, HEAD, 3)
    face(cat, at, yaw)


def face(cat, at, yaw):
    """Eyes, muzzle, nose and whiskers; the far eye narrows as the head turns."""
    rng = cat.rng
    iris = jitter(rng, IRIS[rng.integers(len(IRIS))])
    wake = rng.uniform(0.8, 1.1)
    for side in (-1, 1):
        ex = 4.7 * side + 3.2 * yaw
        rx = 2.6 * (1 - 0.3 * max(0, side * yaw))
        cat.put(at(ellipse(ex, -0.6, rx, 2.6 * wake)), EYE, iris, edge=0.9)
        cat.touch(at(ellipse(ex + 0.3 * yaw, -0.6, rx * rng.uniform(0.35, 0.6), 2.1 * wake)), DARK)
        cat.touch(at(ellipse(ex - 0.8, -1.5, 0.7, 0.7)), (1, 1, 1))
    mx = 4.2 * yaw
    for side in (-1, 1):
        cat.put(at(ellipse(mx + 2.1 * side, 5, 3, 2.5)), NOSE, edge=0.25)
    smile = [(mx - 2.8, 5.4), (mx - 1.4, 6.4), (mx, 5.2), (mx + 1.4, 6.4), (mx + 2.8, 5.4)]
    cat.touch(at(limb(smile, 0.6)), DARK, opacity=0.7)
    cat.put(at([(mx - 1.9, 2.4), (mx + 1.9, 2.4), (mx, 4.8)]), NOSE, PINK, edge=0)
    for side in (-1, 1):
        for rise in (-0.8, 1.2):
            whisker = limb([(mx + 4 * side, 5), (mx + 12.5 * side, 5 + rise * 2)], 0.35)
            cat.touch(at(whisker), WHITE, opacity=0.6)


def sitting(cat, rng):
    """A cat that sits and faces us."""
    fat = rng.uniform(-2, 3)
    sway = rng.normal(0, 1.5)
    tail(
        cat,
        [(42, 55), (52 + fat, 55), (56 + sway, 47), (53, rng.uniform(34, 42))],
        rng.uniform(4.5, 6),
    )
    torso(
        cat,
        [
            (25, 26),
            (39, 26),
            (43, 36),
            (48 + fat, 49),
            (45 + fat, 58),
            (19 - fat, 58),
            (16 - fat, 49),
            (21, 36),
        ],
        [(27, 29), (37, 29), (39.5, 40), (40, 63), (24, 63), (24.5, 40)],
        [(22, 30), (16 - fat, 52)],
    )
    cat.bands([(42, 30), (48 + fat, 52)], 9, BACK, 4)
    for side in (-1, 1):
        x = 32 + side * (12 + fat * 0.7)
        cat.put(ellipse(x, 51, 5.6, 7.2, -side * 0.15), LEG, texture="fur")
        paw(cat, x, 58)
    for side in (-1, 1):
        leg(cat, [(32 + side * 5, 38), (32 + side * 4.6, 48), (33 + side * 4.2, 57)], (6.5, 5.5, 5))
    patches(cat)
    head(
        cat,
        rng.uniform((30 + sway, 18, -0.6), (34 + sway, 21, 0.6)),
        rng.normal(0, 0.12),
        rng.uniform(0.95, 1.15),
    )


def walking(cat, rng):
    """A cat that stands or walks, in side view."""
    step = rng.uniform(-4, 4)
    up = rng.uniform(-1, 1)
    tail(
        cat,
        [(50, 31), (55, 26 + 6 * up), (58, 18 + 12 * up), (54 + 3 * up, 10 + 16 * up)],
        rng.uniform(3.8, 5.5),
    )
    leg(cat, [(26, 38), (28 + step, 48), (27 + 1.4 * step, 56)], (7, 5, 4.5), dim=0.78)
    leg(cat, [(45, 36), (45 - step, 47), (44 - 1.5 * step, 56)], (9, 6, 4.5), dim=0.78)
    sag = rng.uniform(-1, 2)
    torso(
        cat,
        [
            (16, 24),
            (24, 26),
            (35, 27.5),
            (47, 25.5),
            (53, 31),
            (52, 40),
            (43, 42),
            (33, 44.5 + sag),
            (24, 44),
            (16, 37),
        ],
        [(18, 38), (25, 37.5), (35, 37.5), (47, 37), (50, 46), (34, 49), (20, 49)],
        [(21, 27), (36, 28), (51, 28)],
    )
    leg(
        cat,
        [(48, 34), (50 + step * 0.5, 43), (52 + step, 50), (50 + step, 56.5)],
        (12, 7.5, 5, 4.5),
    )
    leg(cat, [(22, 36), (22 - step * 0.6, 47), (21 - step * 1.3, 56.5)], (9, 6, 4.8))
    patches(cat)
    head(
        cat,
        rng.uniform((15, 18, -0.9), (19, 26, -0.1)),
        rng.normal(0, 0.12),
        rng.uniform(0.9, 1.05),
    )


def lying(cat, rng):
    """A cat that lies on its belly, in side view, with its tail in front or behind."""
    reach = rng.uniform(-4, 4)
    high = rng.uniform(-2, 3)
    front = rng.random() < 0.6
    if not front:
        tail(cat, [(54, 54), (61, 51), (62, 42), (58, rng.uniform(30, 36))], rng.uniform(4, 5.5))
    leg(cat, [(26, 54), (18, 55), (11 + reach, 55)], (7, 6, 5), dim=0.85)
    torso(
        cat,
        [
            (13, 44),
            (19, 34),
            (31, 30 - high),
            (45, 31 - high),
            (55, 38),
            (58, 49),
            (54, 57),
            (36, 58),
            (16, 57),
        ],
        [(22, 49), (30, 47), (40, 47), (48, 50), (50, 62), (30, 63), (20, 62)],
        [(25, 32), (40, 30 - high), (54, 39)],
    )
    cat.put(ellipse(48, 48.5, 9, 8.6, 0.2), LEG, texture="fur")
    cat.bands([(44, 44), (53, 46)], 6, LEG, 3)
    paw(cat, 40, 57)
    cat.put(ellipse(25, 49, 5.5, 7.5, 0.4), LEG, edge=0.3, texture="fur")
    leg(cat, [(28, 54.5), (22, 56), (17 + reach, 57)], (6, 6, 5))
    if front:
        tail(
            cat, [(56, 52), (55, 59.5), (46, 61.5), (rng.uniform(32, 40), 60)], rng.uniform(4, 5.5)
        )
    patches(cat)
    head(
        cat, rng.uniform((17, 29, -0.7), (21, 35, 0.3)), rng.normal(0, 0.2), rng.uniform(0.95, 1.15)
    )


def lounging(cat, rng):
    """A cat that lies on its side, its belly towards us and its legs downwards."""
    a, b = rng.uniform(-4, 4, 2)
    tail(cat, [(53, 48), (60, 46), (62, 38), (57 + a / 2, 32 + b)], rng.uniform(4, 5.5))
    torso(
        cat,
        [
            (15, 40),
            (20, 32),
            (32, 32),
            (46, 30),
            (56, 36),
            (58, 46),
            (50, 52),
            (36, 54),
            (22, 53),
            (15, 48),
        ],
        [(20, 46), (26, 42), (36, 41), (48, 43), (54, 50), (44, 58), (22, 58)],
        [(26, 34), (40, 33), (55, 38)],
    )
    leg(cat, [(24, 47), (17 + a / 2, 52), (10 + a, 54)], (7, 6, 5), dim=0.9)
    leg(cat, [(49, 43), (45, 51), (37 + b, 55)], (12, 7, 5), dim=0.9)
    leg(cat, [(28, 48), (24 + a / 2, 54), (18 + a, 58)], (7, 6, 5))
    leg(cat, [(52, 44), (52, 53), (47 + b, 59)], (12, 7.5, 5))
    patches(cat)
    head(
        cat,
        rng.uniform((17, 28, -0.4), (20, 36, 0.6)),
        rng.normal(-0.1, 0.25),
        rng.uniform(0.95, 1.15),
    )


def room(c, rng, floor, hue):
    """A wall with a window, a floor with a rug, often a sofa."""
    c.fill(
        box(0, 0, 64, floor),
        hue(0.5, 0.95),
        texture=rng.choice([None, "stripes", "checks", "cloud"]),
        contrast=0.06,
    )
    x = rng.uniform(-4, 48)
    y = rng.uniform(-2, 6)
    frame = hue(0.6, 1)
    c.fill(box(x, y, x + 20, y + 22), frame)
    c.fill(box(x + 1.5, y + 1.5, x + 18.5, y + 20.5), hue(0.15, 1), texture="cloud", contrast=0.25)
    if rng.random() < 0.6:
        c.fill(box(x + 9.3, y, x + 10.7, y + 22), frame)
    c.fill(
        box(0, floor, 64, 64),
        hue(0.35, 0.8),
        texture=rng.choice([None, "stripes", "cloud"]),
        contrast=0.1,
    )
    c.fill(
        ellipse(32, 60, 34, 9),
        hue(0.3, 0.9),
        texture=rng.choice([None, "stripes", "checks"]),
        contrast=0.12,
    )
    if rng.random() < 0.5:
        colour = hue(0.3, 0.8)
        left = rng.uniform(-16, 12)
        back = [
            (left, floor + 4),
            (left + 1, 26),
            (left + 30, 23),
            (left + 61, 26),
            (left + 62, floor + 4),
        ]
        c.fill(smooth(back), colour)
        c.fill(limb([(left + 30.7, 26), (left + 30.7, floor + 4)], 0.8), colour * 0.75)
        c.fill(smooth(box(left + 3, floor - 3, left + 58, floor + 7)), colour * 0.87)


def garden(c, rng, floor, hue):
    """Sky, a hedge, a lawn and flowers."""
    c.fill(box(0, 0, 64, floor), jitter(rng, (0.6, 0.78, 0.92)), texture="cloud", contrast=0.1)
    green = jitter(rng, (0.36, 0.52, 0.25), 0.08)
    hedge = [(x, floor - rng.uniform(6, 28)) for x in np.linspace(-6, 70, 8)]
    c.fill(smooth([(-8, floor + 2), *hedge, (72, floor + 2)]), green * 0.75, texture="spots")
    c.fill(box(0, floor, 64, 64), green, texture="fur", contrast=0.2)
    for x, y in rng.uniform((0, floor), (64, 64), (rng.integers(4, 12), 2)):
        c.fill(ellipse(x, y, 1.2, 1.2, n=8), hue(0.5, 1))


def ledge(c, rng, floor, hue):
    """A garden wall in front of the evening or morning sky."""
    c.fill(box(0, 0, 64, floor), hue(0.2, 0.95), texture="cloud", contrast=0.15)
    c.fill(ellipse(*rng.uniform((4, 4), (60, 26)), 5, 5), hue(0.75, 1))
    stone = hue(0.3, 0.8)
    c.fill(box(0, floor, 64, 64), stone, texture="cloud")
    for row, y in enumerate(np.arange(floor + 3, 64, 6)):
        c.fill(box(0, y, 64, y + 0.5), stone * 0.6)
        for x in np.arange(4 + 7 * (row % 2), 64, 14):
            c.fill(box(x, y, x + 0.5, y + 6), stone * 0.6)


def thing(c, rng, x, y, colour):
    """A ball of yarn, a pot with a plant, or a cushion."""
    r = rng.uniform(5, 8)
    kind = rng.integers(3)
    if kind == 0:
        c.fill(ellipse(x, y - r, r, r), colour, BACKGROUND, "stripes", 0.3)
    elif kind == 1:
        plant(c, rng, x, y - r)
        pot = [(x - r, y - 1.6 * r), (x + r, y - 1.6 * r), (x + 0.7 * r, y), (x - 0.7 * r, y)]
        c.fill(pot, colour, BACKGROUND, shade=0.3)
    else:
        cushion = turn(box(x - r, y - 2 * r, x + r, y), rng.uniform(-0.5, 0.5), (x, y - r))
        weave = rng.choice([None, "checks", "stripes", "spots"])
        c.fill(smooth(cushion), colour, BACKGROUND, weave)


def plant(c, rng, x, y):
    """Five leaves that spread from one point."""
    green = jitter(rng, (0.25, 0.5, 0.25), 0.08)
    for lean in rng.normal(0, 0.6, 5):
        path = [
            (x, y),
            (x + 7 * np.sin(lean * 0.6), y - 9),
            (x + 17 * np.sin(lean), y - 17 * np.cos(lean)),
        ]
        c.fill(limb(path, (1, 4.5, 0.5)), green * rng.uniform(0.7, 1.2), BACKGROUND)


def scene(rng):
    """A cat in a room, in a garden or on a wall."""
    c = Canvas(rng)
    cat = Cat(c, rng)
    coat = (cat.fur, cat.mark, cat.pale)

    def hue(low, high):
        """A colour of the room, as bright as asked; one in five is a colour of the coat."""
        tone = ROOM[rng.integers(len(ROOM))]
        if rng.random() < 0.2:
            tone = coat[rng.integers(3)]
        else:
            tone = tone * rng.uniform(low, high) / tone.max()
        return jitter(rng, tone, 0.04)

    foot = cat.place([(32, 58)])[0, 1]
    place = (room, room, garden, ledge)[rng.integers(4)]
    place(c, rng, min(foot - rng.uniform(2, 16), 60), hue)
    for x in rng.uniform(0, 64, rng.integers(0, 4)):
        thing(c, rng, x, foot - rng.uniform(-2, 6), jitter(rng, coat[rng.integers(3)]))
    cat.touch(ellipse(34, 59, 26, 3.5), (0, 0, 0), opacity=0.3)
    pose = (sitting, walking, lying, lounging)[rng.choice(4, p=(0.3, 0.3, 0.22, 0.18))]
    pose(cat, rng)
    if rng.random() < 0.3:
        x = rng.choice([rng.uniform(4, 22), rng.uniform(42, 60)])
        thing(c, rng, x, 64 + rng.uniform(-2, 3), jitter(rng, cat.fur, 0.15))
    return c
