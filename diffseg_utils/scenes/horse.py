"""Horses standing, walking, grazing or rearing, some saddled, ridden or led, in meadows, on beaches
and at stables.
"""

import numpy as np

from .canvas import SCALE, Canvas, box, ellipse, jitter, limb, smooth, turn

SEED = 3
NAMES = [
    "background",
    "head",
    "ear",
    "mane",
    "neck",
    "barrel",
    "leg",
    "hoof",
    "tail",
    "saddle",
    "person",
]
BACKGROUND, HEAD, EAR, MANE, NECK, BARREL, LEG, HOOF, TAIL, SADDLE, PERSON = range(len(NAMES))
WHITE, BLACK, BROWN = (0.88, 0.85, 0.8), (0.14, 0.12, 0.13), (0.36, 0.22, 0.13)
COATS = [
    ((0.52, 0.29, 0.15), BLACK),
    ((0.64, 0.35, 0.18), (0.64, 0.35, 0.18)),
    ((0.6, 0.33, 0.2), (0.83, 0.7, 0.48)),
    ((0.2, 0.18, 0.2), BLACK),
    ((0.64, 0.65, 0.68), (0.4, 0.4, 0.44)),
    (WHITE, WHITE),
    (BROWN, (0.2, 0.13, 0.1)),
    ((0.83, 0.62, 0.33), (0.92, 0.85, 0.68)),
    ((0.76, 0.6, 0.4), BLACK),
    (BROWN, BROWN),
]  # (fur, mane and tail)
SKIES = [
    (0.45, 0.66, 0.88),
    (0.85, 0.62, 0.5),
    (0.62, 0.68, 0.76),
    (0.42, 0.46, 0.7),
    (0.85, 0.8, 0.62),
]
GROUNDS = [
    (0.45, 0.62, 0.28),
    (0.36, 0.55, 0.3),
    (0.7, 0.63, 0.36),
    (0.8, 0.82, 0.86),
    (0.6, 0.5, 0.4),
]
LEAVES = [(0.25, 0.45, 0.22), (0.4, 0.55, 0.22), (0.75, 0.45, 0.15), (0.18, 0.35, 0.3)]
CLOTHES = [
    (0.75, 0.18, 0.18),
    (0.2, 0.35, 0.65),
    (0.88, 0.7, 0.25),
    (0.25, 0.5, 0.35),
    (0.5, 0.25, 0.5),
    WHITE,
    BROWN,
]
SKIN = [(0.92, 0.74, 0.62), (0.8, 0.58, 0.42), (0.5, 0.33, 0.23)]
HIP, TRUNK = (
    np.array((15.0, 34.0)),
    smooth(
        [
            (36, 23.3),
            (40.5, 26.5),
            (43.3, 32),
            (41, 37.5),
            (36, 40),
            (28, 40.8),
            (20, 38.5),
            (13, 38.5),
            (9.3, 34),
            (9.3, 28.5),
            (13, 24.3),
            (20, 23.6),
            (27.5, 25.2),
        ],
        4,
    ),
)


def pick(rng, options, amount=0.04):
    """One of the colours, moved a little."""
    return jitter(rng, options[rng.integers(len(options))], amount)


class Horse:
    """Pose, build and colours, in horse units: facing right, about 60 long and high; `fill` maps to
    the canvas.
    """

    def __init__(self, canvas):
        self.canvas, self.rng = canvas, canvas.rng
        rng, (coat, hair) = self.rng, COATS[self.rng.integers(len(COATS))]
        self.coat, self.hair = jitter(rng, coat, 0.02), jitter(rng, hair, 0.02)
        self.socks, self.hoof = (
            pick(rng, [self.coat, self.hair, WHITE], 0.02),
            pick(rng, [BLACK, (0.58, 0.47, 0.36)]),
        )
        self.pose = rng.choice(["stand", "walk", "graze", "rear"], p=[0.34, 0.3, 0.22, 0.14])
        self.saddled = rng.random() < 0.56
        self.ridden = self.saddled and self.pose != "graze" and rng.random() < 0.6
        self.led = not self.ridden and rng.random() < 0.28
        self.pitch = rng.uniform(0.2, 0.42) if self.pose == "rear" else rng.normal(0, 0.03)
        self.fat, self.ground = rng.uniform(0.92, 1.2), 40 + 18 * rng.uniform(0.82, 1.05)
        self.size = (
            rng.uniform(0.92, 1.02)
            if self.ridden or self.pose == "rear"
            else rng.uniform(0.92, 1.1)
        )
        self.stretch = (
            rng.choice([-1, 1]) * rng.uniform(0.82, 1.04),
            1,
        )  # facing, turned a little away
        self.foot = np.array((32 + rng.normal(0, 2.5), rng.uniform(57, 62)))
        graze, rear = self.pose == "graze", self.pose == "rear"
        tilt = (
            rng.uniform(-1.05, -0.75)
            if graze
            else rng.uniform(0.8, 1.1)
            if rear
            else rng.uniform(0.45, 1.1)
        )
        self.nod = rng.uniform(1.15, 1.5) if graze else rng.uniform(0.4, 0.95) - 0.4 * self.pitch
        along, self.dorsal = np.array(
            ((np.cos(tilt), -np.sin(tilt)), (-np.sin(tilt), -np.cos(tilt)))
        )
        base, reach = (
            self.body([(39.5, 31.5) if graze else (36, 31)])[0],
            rng.uniform(18, 21) * along,
        )
        self.neck = np.stack(
            [base, base + 0.55 * reach + rng.uniform(0, 1.5) * self.dorsal, base + reach]
        )

    def fill(self, outline, colour, part=None, **how):
        points = (np.asarray(outline) - (32.5, self.ground)) * self.size * self.stretch + self.foot
        self.canvas.fill(points, colour, part, **how)

    def body(self, points):
        """Points of the level trunk, raised with it."""
        return turn(points, -self.pitch, HIP)

    def face(self, points):
        """Points of a level head with its poll at (0, 0), put on the neck."""
        return turn(points, self.nod, (0, 0)) + self.neck[-1]


def tail(h):
    swing, end = h.rng.normal(-2, 3), h.rng.uniform(42, 51)
    path = [*h.body([(11, 26), (7.5, 27), (5, 33)]), (4.5 + swing / 2, end - 6), (5 + swing, end)]
    h.fill(limb(path, [3, 4.5, 6.5, 6.5, 1]), h.hair, TAIL, texture="fur", contrast=0.25)


def legs(h, near):
    """The near or the far pair, in step with the walk; a rearing horse tucks its forelegs."""
    rng, side, tone = h.rng, 1 if near else -1, 1 if near else 0.74
    stride = side * (rng.uniform(3.5, 6) if h.pose == "walk" else rng.uniform(2, 3.4))
    for front in (False, True):
        lift = rng.uniform(0.5, 3.5) * (h.pose == "walk" and front == near)
        x, y = 39 + stride if front else 15 - 0.9 * stride, h.ground - 2.9 - lift - 1.2 * (not near)
        bend = 0.12 * lift
        if front and h.pose == "rear":
            dx, dy = rng.uniform(-1, 2, 2) + stride / 2
            path = h.body(
                [(37, 34), (41, 39), (45 + dx, 42 + dy), (43 + dx, 47 + dy), (41.5 + dx, 50 + dy)]
            )
            bend = 0.7 - h.pitch
        elif front:
            top = h.body([(37.5, 34)])[0]
            knee = (top + (x, y)) / 2 + (1 + 0.9 * lift, 0)
            path = np.stack(
                [top, (top + knee) / 2, knee, (x - 0.2 * lift, y - 4), (x + 0.4 - 0.5 * lift, y)]
            )
        else:
            path = np.array(
                [(15.5, 32), (17.5, 38), (x - 1.8, (38 + y) / 2), (x - 0.6, y - 4), (x + 0.4, y)]
            )
        h.fill(
            limb(path, [8.5, 6.5, 4, 3.2, 3.2] if front else [10.5, 8.5, 4.4, 3.2, 3.2]),
            h.coat * tone,
            LEG,
        )
        if abs(h.socks - h.coat).max() > 0.1:
            h.fill(limb(path[-3:], [4, 3.3, 3.3]), h.socks * tone, LEG)
        hoof = turn([(-1.7, -0.6), (1.7, -0.6), (2.9, 2.9), (-2.2, 2.9)], bend, (0, 0))
        h.fill(hoof + path[-1], h.hoof * tone, HOOF)


def mane(h):
    """Hair along the crest, falling over the near side, and a forelock."""
    crest = smooth(
        [*h.body([(34.5, 24)]), h.neck[1] + 5.4 * h.dorsal, h.neck[2] + 3.6 * h.dorsal],
        6,
        closed=False,
    )
    fall = (
        h.rng.uniform(2.5, 5.5)
        * h.rng.uniform(0.65, 1.15, len(crest))
        * np.linspace(0.5, 1, len(crest))
    )
    lock = np.concatenate(
        [crest + h.rng.uniform(0.6, 2) * h.dorsal, (crest - fall[:, None] * h.dorsal)[::-1]]
    )
    for outline in (
        lock,
        h.face(smooth([(-2, -4.5), (1.5, -4.6), (5.5, -2.2), (1.5, -0.8), (-2, -1)], 4)),
    ):
        h.fill(outline, h.hair, MANE, texture="fur", contrast=0.25)


def ear(h, x, tone, angle):
    leaf = turn(
        smooth([(-1.5, 0.5), (-1.9, -2.8), (0.2, -6.4), (1.9, -2.8), (1.5, 0.5)], 4), angle, (0, 0)
    )
    h.fill(h.face(leaf + (x, -2.8)), h.coat * tone, EAR)
    if tone == 1:
        h.fill(h.face(leaf * 0.5 + (x, -3.6)), h.coat * 0.6 + (0.14, 0.06, 0.06))


def head(h):
    skull = [
        (-2, -3.2),
        (3, -3.5),
        (8, -2.3),
        (12.5, -1.7),
        (14.6, 0),
        (14.2, 2.4),
        (11.5, 3.3),
        (8, 2.9),
        (4.5, 5),
        (0, 5),
        (-3, 2),
    ]
    muzzle = h.coat * 0.6 if h.coat.mean() > 0.3 else h.coat + 0.1
    h.fill(h.face(smooth(skull, 4)), h.coat, HEAD)
    h.fill(h.face(ellipse(14, 1, 2.6, 3.4)), muzzle, clip=HEAD)
    if h.rng.random() < 0.45:  # a blaze
        h.fill(
            h.face(smooth([(1, -3.8), (6, -3.4), (13, -2.4), (12, -0.8), (5, -1.6)])),
            WHITE,
            clip=HEAD,
        )
    for x, y, r, colour in (
        (4.6, -0.6, 1.25, BLACK),
        (4.9, -1, 0.45, WHITE),
        (13, 0.3, 0.7, BLACK),
    ):
        h.fill(h.face(ellipse(x, y, r, r, n=9)), colour)


def saddle(h, cloth, leather):
    seat = [
        (20.5, 21.5),
        (24, 23.5),
        (29, 23.2),
        (32.5, 20.5),
        (33.2, 24),
        (31, 30),
        (26, 30.5),
        (25, 27),
        (21, 26),
    ]
    h.fill(
        h.body(smooth([(20, 24), (33.5, 24), (34, 33), (20.5, 32.5)], 4)),
        cloth,
        SADDLE,
        texture="checks",
    )
    h.fill(h.body(limb([(29.5, 31), (29.5, 41)], 1.4)), leather, SADDLE, clip=BARREL)
    h.fill(h.body(smooth(seat)), leather, SADDLE, shade=0.25)


def person(h, hip, lean, hand):
    """Torso, arm and head above `hip`, and the rein from the hand to the mouth: a mark that keeps
    the labels.
    """
    rng, shirt, skin = h.rng, pick(h.rng, [*CLOTHES, h.coat]), pick(h.rng, SKIN, 0.03)
    chest, top, mouth = (
        hip + (0.8 * lean, -9.5),
        hip + (1.2 * lean, -15.6),
        h.face([(10.5, 2.2)])[0],
    )
    h.fill(limb([mouth, (mouth + hand) / 2 + (0, 2.5), hand], 0.7), BROWN)
    torso = [
        hip + (-3, 1),
        chest + (-4, 0),
        chest + (-2, -3),
        chest + (2, -3),
        chest + (4, 0),
        hip + (3, 1),
    ]
    h.fill(smooth(torso, 4), shirt, PERSON)
    h.fill(
        ellipse(*(top - (1, -0.6)), 3.6, 4.2), pick(rng, [BLACK, BROWN, (0.8, 0.6, 0.3)]), PERSON
    )
    h.fill(ellipse(*(top + (0.7, 0.3)), 2.8, 3.3), skin, PERSON)
    if rng.random() < 0.65:
        hat = [
            (-5.5, -1.6),
            (-3.2, -2.4),
            (-2.6, -5),
            (2.4, -5),
            (3, -2.4),
            (6, -1.4),
            (3, -0.9),
            (-3, -0.9),
        ]
        h.fill(top + smooth(hat, 3), pick(rng, [*CLOTHES, h.coat]), PERSON)
    h.fill(
        limb([chest, (chest + hand) / 2 + (-1.5, 2), hand], [3.8, 3.2, 2.4]), shirt * 0.8, PERSON
    )
    h.fill(ellipse(*hand, 1.5, 1.5, n=12), skin, PERSON)


def rider(h, trousers):
    hip, knee, ankle, hand = h.body([(26, 21), (31.5, 28), (29, 37), (35, 19)])
    person(h, hip, 3 * h.pitch + h.rng.uniform(0, 2), hand)
    h.fill(
        limb([hip, (hip + knee) / 2 - (0, 0.5), knee, ankle], [6.5, 5.5, 4.5, 3.2]),
        trousers,
        PERSON,
    )
    h.fill(
        limb([(knee + ankle) / 2, ankle, ankle + (3.4, 1.6)], [3.8, 3.4, 2.4]),
        pick(h.rng, [BLACK, BROWN]),
        PERSON,
    )


def groom(h, x, trousers):
    """Someone on foot beside the horse."""
    foot, hip = np.array((x, h.ground + 1.5)), np.array((x, h.ground - 15.0))
    for dx in (-1.8, 1.8):
        h.fill(
            limb([hip + (dx / 2, 0), foot + (dx, 0)], [4.6, 3.2]),
            trousers * (0.9 + 0.06 * dx),
            PERSON,
        )
        h.fill(ellipse(*(foot + (dx + 0.6, 0)), 2.4, 1.3, n=14), BROWN, PERSON)
    person(h, hip, h.rng.uniform(-1, 1), hip + h.rng.uniform((3, -9), (7, 1)))


def blob(rng, x, y, rx, ry):
    """A lumpy round outline: a rock, a crown, a cloud, a patch of fur."""
    t, r = np.linspace(0, 2 * np.pi, 9)[:-1], rng.uniform(0.75, 1.15, 8)
    return smooth(np.stack([x + rx * r * np.cos(t), y + ry * r * np.sin(t)], 1), 5)


def band(c, y0, y1, top, bottom, grain=0.03):
    """A strip right across the picture, from one colour to another (`fill` is slow on large
    areas).
    """
    rows = slice(max(int(y0 * SCALE), 0), int(y1 * SCALE))
    c.rgb[rows] = np.linspace(top, bottom, len(c.rgb[rows]))[:, None]
    c.rgb[rows] *= np.repeat(c.rng.normal(1, grain, (len(c.rgb[rows]), 32, 1)), 8, 1).astype(
        np.float32
    )


def fence(c, y, colour, height):
    for x in np.arange(c.rng.uniform(-4, 6), 66, c.rng.uniform(12, 20)):
        c.fill(box(x, y - height, x + 2, y + 1), colour * 0.85, BACKGROUND)
    for rail in y - height * np.array((0.4, 0.85)) + c.rng.normal(0, 0.5, 2):
        c.fill(box(0, rail - 0.9, 64, rail + 0.9), colour, BACKGROUND)


def landscape(c, y):
    """Sky, then hills or the sea, then grass, earth, snow or sand."""
    rng, sky, ground = c.rng, pick(c.rng, SKIES), pick(c.rng, GROUNDS)
    band(c, 0, y, sky, 0.4 * sky + 0.5, 0.01)
    for x, at, r in rng.uniform((0, 2, 3), (64, 14, 7), (rng.integers(3), 3)):
        c.fill(blob(rng, x, at, 2 * r, 0.5 * r), WHITE, opacity=0.7)
    if rng.random() < 0.25:
        ground = pick(rng, [(0.82, 0.72, 0.53), (0.75, 0.62, 0.43)])
        band(c, y - 7, y, (0.25, 0.5, 0.66), (0.45, 0.7, 0.74), 0.05)
    else:
        for far in np.arange(rng.integers(3), 0, -1):
            top = smooth(
                [(-9, y), *zip((-9, 12, 32, 52, 73), y - 3 * far + rng.normal(0, 2, 5)), (73, y)]
            )
            c.fill(np.minimum(top, (99, y + 1)), (1 - 0.25 * far) * ground * 0.9 + 0.25 * far * sky)
    band(c, y, 64, ground * 1.08, ground * 0.85)


def stable(c, y, colours):
    """A boarded wall with a door, half open, and a floor of straw or stone."""
    rng, wall = (
        c.rng,
        pick(c.rng, [BROWN, (0.6, 0.45, 0.3), (0.8, 0.73, 0.62), (0.58, 0.25, 0.2), *colours]),
    )
    band(c, 0, y, wall * 0.8, wall * 1.1)
    c.rgb[:, rng.integers(8) :: rng.integers(24, 40)] *= 0.6
    x, w, top, frame = (
        rng.uniform(2, 40),
        rng.uniform(14, 24),
        rng.uniform(4, 14),
        pick(rng, [WHITE, BROWN, *colours]),
    )
    c.fill(box(x - 2, top - 2, x + w + 2, y), frame)
    c.fill(
        box(x, top, x + w, y - rng.uniform(0, 16)),
        pick(rng, [BLACK, (0.6, 0.75, 0.85), (0.5, 0.65, 0.35)]),
    )
    band(
        c, y, 64, *[pick(rng, [(0.74, 0.62, 0.36), (0.55, 0.45, 0.35), (0.6, 0.6, 0.6)])] * 2, 0.08
    )


def clutter(c, y, colours):
    """Rocks, bushes, trunks, barrels and crates, mostly in the horse's own colours; trees."""
    for x in c.rng.uniform(0, 64, c.rng.integers(2, 6)):
        kind, foot, r = c.rng.integers(4), y + c.rng.uniform(0, 6), c.rng.uniform(3, 6)
        left = np.array([(-0.7, 0), (-1, -1), (-0.7, -2)])
        barrel = smooth([*left, *(left[::-1] * (-1, 1))], 4) * r + (x, foot)
        shapes = [
            blob(c.rng, x, foot - r / 2, r * 1.4, r),
            limb([(x, foot), (x, foot - 4 * r)], [4, 2.5]),
            barrel,
            box(x - 1.4 * r, foot - 1.3 * r, x + 1.4 * r, foot),
        ]
        c.fill(shapes[kind], pick(c.rng, [*colours, (0.72, 0.6, 0.34), LEAVES[0]]), texture="cloud")
        if kind == 1:
            c.fill(
                blob(c.rng, x, foot - 4 * r, 1.7 * r, 1.5 * r), pick(c.rng, LEAVES), texture="fur"
            )


def scene(rng):
    c = Canvas(rng)
    h = Horse(c)
    colours, horizon = [h.coat, h.coat * 0.8, h.hair, h.socks], rng.uniform(26, 46)
    stable(c, horizon, colours) if rng.random() < 0.25 else landscape(c, horizon)
    if rng.random() < 0.85:
        clutter(c, horizon + 2, colours)
    if rng.random() < 0.35:
        fence(c, horizon + rng.uniform(3, 8), pick(rng, [BROWN, WHITE, h.coat]), rng.uniform(9, 16))
    trousers, leather = (
        pick(rng, [WHITE, (0.25, 0.3, 0.5), BROWN, h.coat]),
        pick(rng, [BROWN, BLACK, h.coat * 0.8]),
    )
    h.fill(ellipse(27, h.ground, 22, 2.2), (0.1, 0.1, 0.12), opacity=0.35)
    legs(h, near=False)
    tail(h)
    h.fill(limb(h.neck, [13 if h.pose == "graze" else 16, 12, 8]), h.coat, NECK)
    h.fill(h.body((TRUNK - (0, 30)) * (1, h.fat) + (0, 30)), h.coat, BARREL)
    legs(h, near=True)
    ear(h, 1.8, 0.75, rng.normal(0.15, 0.1))
    head(h)
    for x, y, r in rng.uniform(
        (8, 18, 3), (54, 46, 7), (rng.choice([0, 6], p=[0.75, 0.25]), 3)
    ):  # piebald
        h.fill(
            h.body(blob(rng, x, y, r, r)),
            WHITE if h.coat.mean() < 0.7 else BROWN,
            clip=[HEAD, NECK, BARREL, LEG],
        )
    mane(h)
    ear(h, -0.8, 1, rng.normal(-0.05, 0.15))
    if h.saddled:
        saddle(h, pick(rng, CLOTHES), leather)
    if h.ridden:
        rider(h, trousers)
    if h.led:
        groom(h, rng.uniform(14, 58), trousers)
    if rng.random() < 0.08:
        fence(c, rng.uniform(62, 68), pick(rng, [BROWN, WHITE, h.coat]), rng.uniform(10, 16))
    for x in rng.uniform(0, 64, rng.integers(5)):
        tuft = np.array([(-3, 8), (-3, 1), (-1.5, 5), (0, 0), (1.2, 5), (3, 2), (3, 8)])
        c.fill(tuft + (x, 58), pick(rng, LEAVES[:2]), BACKGROUND)
    return c
