"""Horses that stand, walk, graze or rear, in meadows, on beaches and at stables.

Some are saddled, ridden or led. Most functions take the Horse `h` or the Canvas `c`.
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
WHITE = (0.88, 0.85, 0.8)
BLACK = (0.14, 0.12, 0.13)
BROWN = (0.36, 0.22, 0.13)
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
HIP = np.array((15.0, 34.0))
TRUNK = smooth(
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
)


def pick(rng, options, amount=0.04):
    """One of the colours, moved a little."""
    return jitter(rng, options[rng.integers(len(options))], amount)


class Horse:
    """Pose, build and colours of one horse.

    Horse units: it faces right and is about 60 long and high; `fill` maps them to the canvas.
    """

    def __init__(self, canvas):
        """A horse of random coat, pose, size and place, at times saddled, ridden or led."""
        self.canvas = canvas
        self.rng = canvas.rng
        rng = self.rng
        coat, hair = COATS[rng.integers(len(COATS))]
        self.coat = jitter(rng, coat, 0.02)
        self.hair = jitter(rng, hair, 0.02)
        self.socks = pick(rng, [self.coat, self.hair, WHITE], 0.02)
        self.hoof = pick(rng, [BLACK, (0.58, 0.47, 0.36)])
        self.pose = rng.choice(["stand", "walk", "graze", "rear"], p=[0.34, 0.3, 0.22, 0.14])
        self.saddled = rng.random() < 0.56
        self.ridden = self.saddled and self.pose != "graze" and rng.random() < 0.6
        self.led = not self.ridden and rng.random() < 0.28
        self.pitch = rng.uniform(0.2, 0.42) if self.pose == "rear" else rng.normal(0, 0.03)
        self.fat = rng.uniform(0.92, 1.2)
        self.ground = 40 + 18 * rng.uniform(0.82, 1.05)
        graze = self.pose == "graze"
        rear = self.pose == "rear"
        self.size = rng.uniform(0.92, 1.02 if self.ridden or rear else 1.1)
        # facing, turned a little away
        self.stretch = (rng.choice([-1, 1]) * rng.uniform(0.82, 1.04), 1)
        self.foot = np.array((32 + rng.normal(0, 2.5), rng.uniform(57, 62)))
        if graze:
            tilt = rng.uniform(-1.05, -0.75)
        elif rear:
            tilt = rng.uniform(0.8, 1.1)
        else:
            tilt = rng.uniform(0.45, 1.1)
        self.nod = rng.uniform(1.15, 1.5) if graze else rng.uniform(0.4, 0.95) - 0.4 * self.pitch
        along = np.array((np.cos(tilt), -np.sin(tilt)))
        self.dorsal = np.array((-np.sin(tilt), -np.cos(tilt)))
        base = self.body([(39.5, 31.5) if graze else (36, 31)])[0]
        reach = rng.uniform(18, 21) * along
        middle = base + 0.55 * reach + rng.uniform(0, 1.5) * self.dorsal
        self.neck = np.stack([base, middle, base + reach])

    def fill(self, outline, colour, part=None, **how):
        """Paint an outline [n, 2] in horse units on the canvas; `how` as for `Canvas.fill`."""
        points = (np.asarray(outline) - (32.5, self.ground)) * self.size * self.stretch + self.foot
        self.canvas.fill(points, colour, part, **how)

    def body(self, points):
        """Points of the level trunk, raised with it."""
        return turn(points, -self.pitch, HIP)

    def face(self, points):
        """Points of a level head with its poll at (0, 0), put on the neck."""
        return turn(points, self.nod, (0, 0)) + self.neck[-1]


def tail(h):
    """The tail, from the back of the trunk down."""
    swing = h.rng.normal(-2, 3)
    end = h.rng.uniform(42, 51)
    path = [*h.body([(11, 26), (7.5, 27), (5, 33)]), (4.5 + swing / 2, end - 6), (5 + swing, end)]
    h.fill(limb(path, [3, 4.5, 6.5, 6.5, 1]), h.hair, TAIL, texture="fur", contrast=0.25)


def legs(h, near):
    """The near or the far pair, in step with the walk; a rearing horse tucks its forelegs."""
    rng = h.rng
    side = 1 if near else -1
    tone = 1 if near else 0.74
    stride = side * (rng.uniform(3.5, 6) if h.pose == "walk" else rng.uniform(2, 3.4))
    for front in (False, True):
        lift = rng.uniform(0.5, 3.5) * (h.pose == "walk" and front == near)
        x = 39 + stride if front else 15 - 0.9 * stride
        y = h.ground - 2.9 - lift - 1.2 * (not near)
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
        widths = [8.5, 6.5, 4, 3.2, 3.2] if front else [10.5, 8.5, 4.4, 3.2, 3.2]
        h.fill(limb(path, widths), h.coat * tone, LEG)
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
    fall = h.rng.uniform(2.5, 5.5) * h.rng.uniform(0.65, 1.15, len(crest))
    fall = fall * np.linspace(0.5, 1, len(crest))
    upper = crest + h.rng.uniform(0.6, 2) * h.dorsal
    lower = crest - fall[:, None] * h.dorsal
    lock = np.concatenate([upper, lower[::-1]])
    forelock = smooth([(-2, -4.5), (1.5, -4.6), (5.5, -2.2), (1.5, -0.8), (-2, -1)], 4)
    for outline in (lock, h.face(forelock)):
        h.fill(outline, h.hair, MANE, texture="fur", contrast=0.25)


def ear(h, x, tone, angle):
    """An ear at `x` on the head, turned by `angle`; the near ear, tone 1, shows its inside."""
    leaf = smooth([(-1.5, 0.5), (-1.9, -2.8), (0.2, -6.4), (1.9, -2.8), (1.5, 0.5)], 4)
    leaf = turn(leaf, angle, (0, 0))
    h.fill(h.face(leaf + (x, -2.8)), h.coat * tone, EAR)
    if tone == 1:
        h.fill(h.face(leaf * 0.5 + (x, -3.6)), h.coat * 0.6 + (0.14, 0.06, 0.06))


def head(h):
    """The head with muzzle, eye and nostril, at times with a blaze."""
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
    if h.rng.random() < 0.45:
        blaze = smooth([(1, -3.8), (6, -3.4), (13, -2.4), (12, -0.8), (5, -1.6)])
        h.fill(h.face(blaze), WHITE, clip=HEAD)
    for x, y, r, colour in (
        (4.6, -0.6, 1.25, BLACK),
        (4.9, -1, 0.45, WHITE),
        (13, 0.3, 0.7, BLACK),
    ):
        h.fill(h.face(ellipse(x, y, r, r, n=9)), colour)


def saddle(h, cloth, leather):
    """A saddle cloth, a girth and a seat."""
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
    blanket = smooth([(20, 24), (33.5, 24), (34, 33), (20.5, 32.5)], 4)
    h.fill(h.body(blanket), cloth, SADDLE, texture="checks")
    h.fill(h.body(limb([(29.5, 31), (29.5, 41)], 1.4)), leather, SADDLE, clip=BARREL)
    h.fill(h.body(smooth(seat)), leather, SADDLE, shade=0.25)


def person(h, hip, lean, hand):
    """Torso, arm and head above `hip`, and the rein from the hand to the horse's mouth.

    The rein keeps the labels of what lies behind it.
    """
    rng = h.rng
    shirt = pick(rng, [*CLOTHES, h.coat])
    skin = pick(rng, SKIN, 0.03)
    chest = hip + (0.8 * lean, -9.5)
    top = hip + (1.2 * lean, -15.6)
    mouth = h.face([(10.5, 2.2)])[0]
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
    hair = pick(rng, [BLACK, BROWN, (0.8, 0.6, 0.3)])
    h.fill(ellipse(*(top - (1, -0.6)), 3.6, 4.2), hair, PERSON)
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
    arm = limb([chest, (chest + hand) / 2 + (-1.5, 2), hand], [3.8, 3.2, 2.4])
    h.fill(arm, shirt * 0.8, PERSON)
    h.fill(ellipse(*hand, 1.5, 1.5, n=12), skin, PERSON)


def rider(h, trousers):
    """Someone in the saddle: a person with the near leg and a boot."""
    hip, knee, ankle, hand = h.body([(26, 21), (31.5, 28), (29, 37), (35, 19)])
    person(h, hip, 3 * h.pitch + h.rng.uniform(0, 2), hand)
    leg = limb([hip, (hip + knee) / 2 - (0, 0.5), knee, ankle], [6.5, 5.5, 4.5, 3.2])
    h.fill(leg, trousers, PERSON)
    boot = limb([(knee + ankle) / 2, ankle, ankle + (3.4, 1.6)], [3.8, 3.4, 2.4])
    h.fill(boot, pick(h.rng, [BLACK, BROWN]), PERSON)


def groom(h, x, trousers):
    """Someone on foot beside the horse."""
    foot = np.array((x, h.ground + 1.5))
    hip = np.array((x, h.ground - 15.0))
    for dx in (-1.8, 1.8):
        leg = limb([hip + (dx / 2, 0), foot + (dx, 0)], [4.6, 3.2])
        h.fill(leg, trousers * (0.9 + 0.06 * dx), PERSON)
        h.fill(ellipse(*(foot + (dx + 0.6, 0)), 2.4, 1.3, n=14), BROWN, PERSON)
    person(h, hip, h.rng.uniform(-1, 1), hip + h.rng.uniform((3, -9), (7, 1)))


def blob(rng, x, y, rx, ry):
    """A lumpy round outline: a rock, a crown, a cloud, a patch of fur."""
    t = np.linspace(0, 2 * np.pi, 9)[:-1]
    r = rng.uniform(0.75, 1.15, 8)
    return smooth(np.stack([x + rx * r * np.cos(t), y + ry * r * np.sin(t)], 1), 5)


def band(c, y0, y1, top, bottom, grain=0.03):
    """A strip across the whole picture, from the colour `top` to the colour `bottom`.

    It writes rows of pixels, because `Canvas.fill` is slow on large areas.
    """
    rows = slice(max(int(y0 * SCALE), 0), int(y1 * SCALE))
    strip = c.rgb[rows]  # (H, 256, 3), a view
    strip[:] = np.linspace(top, bottom, len(strip))[:, None]
    noise = c.rng.normal(1, grain, (len(strip), 32, 1))
    strip *= np.repeat(noise, 8, 1).astype(np.float32)


def fence(c, y, colour, height):
    """A fence with two rails, whose foot is at `y`."""
    for x in np.arange(c.rng.uniform(-4, 6), 66, c.rng.uniform(12, 20)):
        c.fill(box(x, y - height, x + 2, y + 1), colour * 0.85, BACKGROUND)
    for rail in y - height * np.array((0.4, 0.85)) + c.rng.normal(0, 0.5, 2):
        c.fill(box(0, rail - 0.9, 64, rail + 0.9), colour, BACKGROUND)


def landscape(c, y):
    """Sky, then hills or the sea, then grass, earth, snow or sand."""
    rng = c.rng
    sky = pick(rng, SKIES)
    ground = pick(rng, GROUNDS)
    band(c, 0, y, sky, 0.4 * sky + 0.5, 0.01)
    for x, at, r in rng.uniform((0, 2, 3), (64, 14, 7), (rng.integers(3), 3)):
        c.fill(blob(rng, x, at, 2 * r, 0.5 * r), WHITE, opacity=0.7)
    if rng.random() < 0.25:
        ground = pick(rng, [(0.82, 0.72, 0.53), (0.75, 0.62, 0.43)])
        band(c, y - 7, y, (0.25, 0.5, 0.66), (0.45, 0.7, 0.74), 0.05)
    else:
        for far in np.arange(rng.integers(3), 0, -1):
            ridge = zip((-9, 12, 32, 52, 73), y - 3 * far + rng.normal(0, 2, 5))
            hill = smooth([(-9, y), *ridge, (73, y)])
            haze = (1 - 0.25 * far) * ground * 0.9 + 0.25 * far * sky
            c.fill(np.minimum(hill, (99, y + 1)), haze)
    band(c, y, 64, ground * 1.08, ground * 0.85)


def stable(c, y, colours):
    """A boarded wall with a door, half open, and a floor of straw or stone."""
    rng = c.rng
    walls = [BROWN, (0.6, 0.45, 0.3), (0.8, 0.73, 0.62), (0.58, 0.25, 0.2), *colours]
    wall = pick(rng, walls)
    band(c, 0, y, wall * 0.8, wall * 1.1)
    c.rgb[:, rng.integers(8) :: rng.integers(24, 40)] *= 0.6
    x = rng.uniform(2, 40)
    w = rng.uniform(14, 24)
    top = rng.uniform(4, 14)
    frame = pick(rng, [WHITE, BROWN, *colours])
    c.fill(box(x - 2, top - 2, x + w + 2, y), frame)
    opening = box(x, top, x + w, y - rng.uniform(0, 16))
    c.fill(opening, pick(rng, [BLACK, (0.6, 0.75, 0.85), (0.5, 0.65, 0.35)]))
    floor = pick(rng, [(0.74, 0.62, 0.36), (0.55, 0.45, 0.35), (0.6, 0.6, 0.6)])
    band(c, y, 64, floor, floor, 0.08)


def clutter(c, y, colours):
    """Rocks, bushes, trunks, barrels and crates, mostly in the horse's own colours; trees."""
    for x in c.rng.uniform(0, 64, c.rng.integers(2, 6)):
        kind = c.rng.integers(4)
        foot = y + c.rng.uniform(0, 6)
        r = c.rng.uniform(3, 6)
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
            crown = blob(c.rng, x, foot - 4 * r, 1.7 * r, 1.5 * r)
            c.fill(crown, pick(c.rng, LEAVES), texture="fur")


def scene(rng):
    """A Canvas with a horse, painted from the background to the front."""
    c = Canvas(rng)
    h = Horse(c)
    colours = [h.coat, h.coat * 0.8, h.hair, h.socks]
    horizon = rng.uniform(26, 46)
    if rng.random() < 0.25:
        stable(c, horizon, colours)
    else:
        landscape(c, horizon)
    if rng.random() < 0.85:
        clutter(c, horizon + 2, colours)
    if rng.random() < 0.35:
        fence(c, horizon + rng.uniform(3, 8), pick(rng, [BROWN, WHITE, h.coat]), rng.uniform(9, 16))
    trousers = pick(rng, [WHITE, (0.25, 0.3, 0.5), BROWN, h.coat])
    leather = pick(rng, [BROWN, BLACK, h.coat * 0.8])
    h.fill(ellipse(27, h.ground, 22, 2.2), (0.1, 0.1, 0.12), opacity=0.35)
    legs(h, near=False)
    tail(h)
    h.fill(limb(h.neck, [13 if h.pose == "graze" else 16, 12, 8]), h.coat, NECK)
    h.fill(h.body((TRUNK - (0, 30)) * (1, h.fat) + (0, 30)), h.coat, BARREL)
    legs(h, near=True)
    ear(h, 1.8, 0.75, rng.normal(0.15, 0.1))
    head(h)
    n_patches = rng.choice([0, 6], p=[0.75, 0.25])  # six on a piebald horse
    patch = WHITE if h.coat.mean() < 0.7 else BROWN
    for x, y, r in rng.uniform((8, 18, 3), (54, 46, 7), (n_patches, 3)):
        h.fill(h.body(blob(rng, x, y, r, r)), patch, clip=[HEAD, NECK, BARREL, LEG])
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
