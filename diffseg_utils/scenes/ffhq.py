"""Portraits: a face with hair, neck and shoulders, before a varied background.

The background is a garden, a room, lights or a bystander. Most functions take the Canvas `c`, the
random generator `rng` and the Head `h`.
"""

import numpy as np

from .canvas import Canvas, box, ellipse, jitter, limb, smooth, turn

SEED = 1
NAMES = ["background", "skin", "hair", "brow", "eye", "nose", "mouth", "ear", "neck", "cloth"]
BACKGROUND, SKIN, HAIR, BROW, EYE, NOSE, MOUTH, EAR, NECK, CLOTH = range(len(NAMES))
SKINS = [
    (0.98, 0.84, 0.74),
    (0.95, 0.76, 0.62),
    (0.88, 0.67, 0.50),
    (0.78, 0.55, 0.38),
    (0.62, 0.41, 0.27),
    (0.46, 0.29, 0.19),
]
HAIRS = [
    (0.10, 0.08, 0.08),
    (0.20, 0.12, 0.08),
    (0.36, 0.21, 0.12),
    (0.55, 0.25, 0.12),
    (0.70, 0.48, 0.24),
    (0.90, 0.75, 0.45),
    (0.70, 0.69, 0.68),
    (0.80, 0.42, 0.55),
]
STYLES = {
    # odds, crown height, half width, where the front hair ends at the sides, and the back hair
    "short": (0.24, 1.22, 1.03, -0.20, None),
    "buzz": (0.07, 1.09, 0.97, -0.25, None),
    "bald": (0.04, 0, 0, 0, None),
    "bun": (0.12, 1.17, 1.03, -0.22, None),
    "tucked": (0.16, 1.20, 1.06, -0.22, 1.35),
    "curls": (0.10, 1.33, 1.25, 0.15, 0.45),
    "pigtails": (0.08, 1.17, 1.04, -0.22, None),
    "bob": (0.08, 1.22, 1.14, 0.70, 0.80),
    "long": (0.11, 1.22, 1.14, 1, 1.6),
}
HAIRLINES = np.array(
    [
        (-0.62, -0.66, -0.70, -0.66, -0.62),
        (-0.47, -0.46, -0.48, -0.46, -0.47),
        (-0.40, -0.62, -0.85, -0.60, -0.38),
        (-0.74, -0.72, -0.62, -0.52, -0.36),
        (-0.66, -0.80, -0.64, -0.80, -0.66),
    ]
)  # round, fringe, parted, ...


class Head:
    """Pose and palette of one head.

    Its own coordinates are u, -1..1 from side to side, and v, -1..1 from crown to chin.
    """

    def __init__(self, rng):
        """A head of random size, place, pose, colours and hair style."""
        size = rng.uniform(0.92, 1.17)
        self.rx = size * rng.uniform(15, 18)
        self.ry = size * rng.uniform(19, 21.5)
        self.x = 32 + rng.normal(0, 3)
        self.y = 29.5 + rng.normal(0, 1.8)
        self.yaw = rng.uniform(-0.36, 0.36)
        self.pitch = rng.uniform(-0.06, 0.09)
        self.tilt = rng.normal(0, 0.14)
        self.skin = jitter(rng, rng.choice(SKINS), 0.03)
        self.hair = jitter(rng, rng.choice(HAIRS), 0.03)
        self.style = rng.choice(list(STYLES), p=[s[0] for s in STYLES.values()])
        _, self.crown, self.wide, self.front, self.back = STYLES[self.style]
        self.eye_u = rng.uniform(0.37, 0.45)
        self.eye_v = rng.uniform(-0.13, -0.04)

    def at(self, points, front=1.0):
        """Pixels [n, 2] of points [n, 2] in head coordinates.

        front: how far the points lie before the head's axis, so how far they follow a turn.
        """
        u, v = np.asarray(points, float).T
        x = self.x + self.rx * (u + front * self.yaw * np.maximum(1 - u**2, 0))
        y = self.y + self.ry * (v + front * self.pitch * np.maximum(1 - v**2, 0))
        return turn(np.stack([x, y], 1), self.tilt, (self.x, self.y + 0.8 * self.ry))


def mirror(half):
    """A closed outline [2n, 2]: its right half [n, 2] and the mirror image of that."""
    p = np.asarray(half, float)
    return np.concatenate([p, p[::-1] * (-1, 1)])


def garden(c, rng, h):
    """Sky, a hill and two trees."""
    y = rng.uniform(15, 45)
    green = rng.uniform((0.2, 0.35, 0.1), (0.5, 0.65, 0.3))
    c.rgb[:] = rng.uniform((0.5, 0.7, 0.85), (0.8, 0.88, 1))
    hill = smooth([(x, y + rng.normal(0, 4)) for x in range(-8, 80, 16)], closed=False)
    c.fill(np.concatenate([hill, [(72, 70), (-8, 70)]]), green, texture="fur")
    for x in rng.uniform([0, 46], [18, 64]):
        c.fill(limb([(x, 64), (x + 1, y)], 3), (0.35, 0.25, 0.17))
        crown = ellipse(x, y - 4, rng.uniform(6, 11), rng.uniform(7, 14))
        c.fill(crown, jitter(rng, green * 0.8), texture="spots")


def room(c, rng, h):
    """A wall with a window, and a floor or a table."""
    x = rng.choice([rng.uniform(-8, 8), rng.uniform(42, 54)])
    y = rng.uniform(3, 12)
    w = rng.uniform(12, 20)
    c.fill(
        box(0, 0, 64, 64),
        rng.uniform(0.3, 0.95, 3),
        texture=rng.choice(["cloud", "stripes", "checks", "spots"]),
        contrast=rng.uniform(0.03, 0.14),
    )
    c.fill(box(x - 1.5, y - 1.5, x + w + 1.5, y + w * 1.5 + 1.5), (0.9, 0.87, 0.8))
    sky = rng.uniform((0.3, 0.4, 0.5), (0.7, 0.85, 1))
    for pane in (x, x + w / 2 + 0.6):
        c.fill(box(pane, y, pane + w / 2 - 0.6, y + w * 1.5), sky, texture="cloud")
    c.rgb[int(rng.uniform(168, 216)) :] = rng.uniform(0.2, 0.7, 3)  # the floor, or a table


def lights(c, rng, h):
    """Translucent round lights on a dark wall."""
    c.rgb[:] = rng.uniform(0.08, 0.4, 3)
    warm = rng.uniform(0.4, 1, (3, 3))
    for x, y, r in rng.uniform((0, 0, 2), (64, 60, 6), (14, 3)):
        c.fill(ellipse(x, y, r, r), rng.choice(warm), opacity=0.6)


def bystander(c, rng, h):
    """A room or a garden with another person, labelled background."""
    x = rng.choice([rng.uniform(2, 10), rng.uniform(54, 62)])
    y = rng.uniform(18, 32)
    r = rng.uniform(6, 9)
    if rng.random() < 0.5:
        room(c, rng, h)
    else:
        garden(c, rng, h)
    for dy, rx, ry, tone in (
        (-0.2, 1.2, 1.4, h.hair),
        (3.4, 2, 2.2, rng.uniform(0.2, 0.9, 3)),
        (0.3, 0.9, 1.1, h.skin),
    ):
        c.fill(ellipse(x, y + dy * r, rx * r, ry * r), jitter(rng, tone))


def balls(c, rng, h):
    """Up to three round things in the background, in the colours of the skin or the hair."""
    for x in rng.choice([4, 12, 52, 60], rng.integers(0, 4), replace=False) + rng.normal(0, 2):
        tone = jitter(rng, h.skin if rng.random() < 0.5 else h.hair, 0.04)
        r = rng.uniform(3, 8)
        ball = ellipse(x, rng.uniform(2, 52), r, r * rng.uniform(0.7, 1.4), rng.uniform(0, 3))
        c.fill(ball, tone)


def hair_behind(c, rng, h):
    """The hair behind the head: a bun, pigtails or long back hair."""
    if h.style == "bun":
        c.fill(h.at(ellipse(rng.uniform(-0.4, 0.4), -1.2, 0.42, 0.3), 0), h.hair, HAIR)
    if h.style == "pigtails":
        for s in (-1, 1):
            path = [
                (s * 0.9, -0.5),
                (s * 1.4, -0.3),
                (s * 1.4, 0.4),
                (s * rng.uniform(1.2, 1.6), 1),
            ]
            c.fill(limb(h.at(path, 0), (3, 9, 8, 2)), h.hair, HAIR)
    if h.back is not None:
        flare = h.wide * rng.uniform(1, 1.2)
        end = h.back + rng.uniform(-0.1, 0.15)
        half = [
            (0.5, -h.crown * 0.8),
            (h.wide, -0.5),
            (flare, 0.2),
            (flare, end * 0.8),
            (flare * 0.75, end),
        ]
        c.fill(smooth(h.at(mirror(half), 0)), h.hair * 0.8, HAIR, "cloud")


def body(c, rng, h):
    """Neck, shoulders and clothes, at times with a collar."""
    x = h.x
    y = h.y + h.ry
    w = h.rx * rng.uniform(0.5, 0.66)
    base = y + h.ry * rng.uniform(0.16, 0.32)
    neck = mirror([(w, -8), (w, base - y), (1.5 * w, base - y + 9)]) + (x, y)
    c.fill(smooth(neck), h.skin * 0.93, NECK)
    # the chin's shadow
    c.fill(ellipse(x + h.yaw * 6, y - 1, w * 1.1, 4), h.skin * 0.7, opacity=0.6, clip=NECK)
    tones = [rng.uniform(0.15, 0.95, 3), h.skin, h.hair, h.hair * 1.5]
    tone = jitter(rng, tones[rng.choice(4, p=[0.6, 0.14, 0.14, 0.12])], 0.04)
    dip = base + rng.choice([-3, 3, 9])  # turtleneck, round neck, deep neck
    half = [(1.05 * w, base - 2), (1.9 * w, base + 2), (2.2 * h.rx, base + 7), (2.6 * h.rx, 75)]
    c.fill(
        smooth(np.concatenate([[(0, dip)], mirror(half)]) + (x, 0)),
        tone,
        CLOTH,
        contrast=rng.uniform(0.05, 0.4),
        texture=rng.choice(["cloud", "stripes", "checks", "spots"]),
    )
    if rng.random() < 0.35:
        for s in (-1, 1):  # the collar
            flap = [
                (s * w, base - 3),
                (s * 1.6 * w, base + 1),
                (s * 0.9 * w, base + 6),
                (0, dip + 1),
            ]
            c.fill(np.array(flap) + (x, 0), tone * 1.25, CLOTH)


def ear(c, h, side, jewel):
    """The ear on one side (-1 left, 1 right in the picture), with an earring if `jewel`."""
    if h.front > 0:  # hidden by the hair
        return
    u = side * (0.97 - 0.45 * max(-side * h.yaw, 0))  # the near ear comes forward in a turn
    shell = [
        (u, -0.2),
        (u + side * 0.15, -0.24),
        (u + side * 0.22, -0.05),
        (u + side * 0.12, 0.2),
        (u, 0.2),
    ]
    c.fill(h.at(smooth(shell), 0), h.skin * 0.95, EAR)
    c.fill(h.at(ellipse(u + side * 0.1, -0.05, 0.06, 0.12), 0), h.skin * 0.68, opacity=0.8)
    if jewel:
        c.fill(h.at(ellipse(u + side * 0.1, 0.24, 0.06, 0.05), 0), (0.95, 0.85, 0.4))


def skull(c, rng, h):
    """The skin of the face, a blush on the cheeks and, for some, a beard."""
    jaw = rng.uniform(-0.1, 0.1)
    half = [(0.6, -0.86), (0.93, -0.4), (0.95, 0.1), (0.82 + jaw, 0.52), (0.44 + jaw, 0.9), (0, 1)]
    c.fill(smooth(h.at(mirror(half), 0.3)), h.skin, SKIN)
    blush = rng.uniform(0, 0.6)
    for u in (-0.55, 0.55):
        c.fill(
            h.at(ellipse(u, 0.28, 0.24, 0.16)),
            h.skin * (1.08, 0.78, 0.75),
            opacity=blush,
            shade=0,
            clip=SKIN,
        )
    if h.style in ("short", "buzz", "bald", "curls") and rng.random() < 0.4:
        beard = [
            (0, 0.36),
            (0.42, 0.36),
            (0.62, 0.3),
            (0.86, -0.02),
            (0.97, 0.1),
            (0.9, 0.6),
            (0.5, 1.05),
            (0, 1.05),
        ]
        c.fill(
            smooth(h.at(mirror(beard), 0.4)),
            h.hair,
            texture="fur",
            clip=SKIN,
            opacity=rng.uniform(0.3, 0.95),
        )


def eyes(c, rng, h):
    """Both eyes, seldom closed, at times with makeup around them."""
    w = 0.25
    gaze = rng.normal(0, 0.05)
    iris = rng.uniform(0.1, 0.5, 3)
    open_ = rng.uniform(0.09, 0.13) if rng.random() < 0.93 else 0.03
    makeup = rng.random() < 0.25
    tone = rng.uniform(0.2, 0.7, 3)
    for u, v in ((-h.eye_u, h.eye_v), (h.eye_u, h.eye_v)):
        if makeup:
            c.fill(h.at(ellipse(u, v - 0.04, 0.31, 0.18)), tone, opacity=0.5, clip=SKIN)
        lid = [(u - w, v), (u - 0.1, v - open_), (u + 0.1, v - open_), (u + w, v - 0.02)]
        colour = (0.96, 0.95, 0.92) if open_ > 0.05 else h.skin * 0.85
        c.fill(smooth(h.at(lid + [(u, v + open_)])), colour, EYE)
        if open_ > 0.05:
            x, y = h.at([(u + gaze, v - 0.01)])[0]
            r = 0.13 * h.rx
            c.fill(ellipse(x, y, r, r), iris, clip=EYE)
            c.fill(ellipse(x, y, r * 0.55, r * 0.55), (0.05, 0.04, 0.04), clip=EYE)
            c.fill(ellipse(x - 0.6, y - 0.7, 0.5, 0.5), (1, 1, 1))
        c.fill(limb(h.at(lid), (0.5, 1, 0.5)), (0.12, 0.08, 0.07), EYE)


def brows(c, rng, h):
    """Both eyebrows."""
    v = h.eye_v - 0.27 + rng.normal(0, 0.02)
    mood = rng.normal(0, 0.03)
    bushy = rng.uniform(1.7, 2.5)
    tone = rng.uniform(0.6, 1)
    for s in (-1, 1):
        arch = [
            (s * (h.eye_u - 0.26), v + 0.03 - mood),
            (s * (h.eye_u + 0.02), v - 0.05),
            (s * (h.eye_u + 0.28), v + 0.05),
        ]
        c.fill(limb(h.at(arch), np.array((0.9, 1, 0.4)) * bushy), h.hair * tone, BROW)


def nose(c, rng, h):
    """The nose, its dark flank away from the light, and the nostrils."""
    w = rng.uniform(0.19, 0.28)
    end = rng.uniform(0.23, 0.34)
    dark = -np.sign(np.cos(c.light))
    half = [(0.08, -0.14), (0.1, 0.05), (w, end - 0.08), (w * 0.85, end), (0.08, end + 0.05)]
    c.fill(smooth(h.at(mirror(half), 1.3)), np.minimum(h.skin * 1.05, 1), NOSE)
    flank = [(0.02, -0.14), (0.04, end - 0.1), (w, end + 0.05), (w * 1.2, end - 0.1), (0.1, 0)]
    flank = np.array(flank) * (dark, 1)
    c.fill(smooth(h.at(flank, 1.3)), h.skin * 0.7, opacity=0.55, clip=NOSE)
    for u in (-0.5, 0.5):
        c.fill(h.at(ellipse(u * w, end, 0.05, 0.028), 1.3), h.skin * 0.4, clip=NOSE)


def mouth(c, rng, h):
    """Lips, closed or parted over the teeth."""
    w = rng.uniform(0.3, 0.44)
    y = rng.uniform(0.54, 0.63)
    fat = rng.uniform(0.07, 0.1)
    gape = rng.choice([0, 0.05, 0.11])
    up = y - rng.uniform(-0.02, 0.12)  # the corners: a smile, or seldom a pout
    if rng.random() < 0.6:
        lips = h.skin * (0.88, 0.6, 0.6)
    else:
        lips = rng.uniform((0.6, 0.05, 0.1), (0.9, 0.3, 0.4))
    rim = mirror([(0.2, y + fat + gape), (w, up), (0.12, y - fat), (0.04, y - fat * 0.75)])
    c.fill(smooth(h.at(rim)), lips, MOUTH)
    line = [(-w * 0.8, up + 0.01), (0, y + 0.02 - gape / 3), (w * 0.8, up + 0.01)]
    if gape:
        inside = line + [(0.15, y + gape + 0.02), (-0.15, y + gape + 0.02)]
        c.fill(smooth(h.at(inside)), (0.35, 0.08, 0.08), clip=MOUTH)
        c.fill(smooth(h.at(line + [(0, y + 0.06)])), (0.97, 0.95, 0.9), clip=MOUTH)  # teeth
    else:
        c.fill(limb(h.at(line), 0.6), lips * 0.5, clip=MOUTH)


def hair_before(c, rng, h):
    """The hair on top and around the face, with strands; none for a bald head."""
    if h.style == "bald":
        return
    line = HAIRLINES[0] if h.style == "buzz" else rng.choice(HAIRLINES)
    line = line[:: rng.choice([-1, 1])] + rng.normal(0, 0.03, 5)
    side = min(-0.4, h.front - 0.1)
    half = [(h.wide, h.front), (h.wide, side), (h.wide * 0.8, -0.71 * h.crown), (0.36, -h.crown)]
    inner = [
        (-0.82, h.front),
        (-0.84, -0.34),
        *zip((-0.7, -0.38, 0, 0.38, 0.7), line),
        (0.84, -0.34),
        (0.82, h.front),
    ]
    outer = smooth(h.at(mirror(half), 0.15), closed=False)
    if h.style == "curls":
        t = np.linspace(-0.35, np.pi + 0.35, 70)
        round_ = np.stack([h.wide * np.cos(t), -0.25 - 1.05 * np.sin(t)], 1)
        outer = h.at(round_ * (1 + 0.07 * abs(np.sin(7 * t + rng.uniform(0, 3))))[:, None], 0.15)
    c.fill(np.concatenate([outer, smooth(h.at(inner, 0.8), closed=False)]), h.hair, HAIR, "cloud")
    for i, u in enumerate(rng.uniform(-0.9, 0.9, 5)):  # strands, light and dark
        strand = h.at([(u * 0.5, -h.crown), (u * 0.9, -0.75), (u * 1.15, max(h.front, -0.3))], 0.2)
        tone = h.hair * (1.5, 0.6)[i % 2] + 0.05
        c.fill(limb(strand, (0.3, 1, 0.3)), tone, clip=HAIR, opacity=0.5)


def dusk(c, rng, h):
    """One shadow over everything on the far side of the light."""
    dark = -np.sign(np.cos(c.light))
    half = np.array([(0.1, -1.4), (0.2, 0), (0.1, 1.1), (1.3, 1.1), (1.3, -1.4)]) * (dark, 1)
    c.fill(smooth(h.at(half)), h.skin * 0.2, opacity=0.3, shade=0, clip=range(SKIN, NECK))


def glasses(c, rng, h):
    """Glasses: dark ones are labelled background, clear ones keep the labels behind them."""
    dark = rng.random() < 0.2
    tone = rng.uniform(0, 0.5, 3)
    r = rng.uniform(0.28, 0.33)
    for u in (-h.eye_u, h.eye_u):
        rim = h.at(ellipse(u, h.eye_v + 0.03, r, r * 0.7), 1.1)
        if dark:  # clear glass keeps the labels behind it
            c.fill(rim, tone * 0.5, BACKGROUND, shade=0.4)
        c.fill(limb(np.concatenate([rim, rim[:2]]), 0.9), tone)
    c.fill(limb(h.at([(-0.12, h.eye_v), (0, h.eye_v - 0.02), (0.12, h.eye_v)], 1.1), 1), tone)


def hat(c, rng, h):
    """A hat, labelled background."""
    tone = jitter(rng, rng.choice([h.skin, h.hair, *rng.uniform(0.2, 0.95, (3, 3))]))
    edge = rng.uniform(-0.72, -0.58)
    crown = mirror([(1.08, edge), (1, -1.1), (0.5, -1.5)])
    c.fill(smooth(h.at(crown, 0.1)), tone, BACKGROUND, rng.choice(["cloud", "stripes", "checks"]))
    brim = ellipse(0, edge - 0.02, rng.choice([1.1, 1.75]), 0.13)
    c.fill(h.at(brim, 0.1), tone * 0.75, BACKGROUND)


def flower(c, rng, h):
    """A flower on a stem before the face or beside it, labelled background."""
    x = h.x + rng.choice([-1, 1]) * h.rx * rng.uniform(0.5, 1.3)
    y = h.y + h.ry * rng.uniform(0.2, 1.2)
    tone = rng.uniform(0.5, 1, 3)
    c.fill(limb([(x, y), (x + 3, 66)], 1.6), (0.3, 0.5, 0.2), BACKGROUND)
    for a in np.arange(6) * 1.047:
        c.fill(ellipse(x + 4 * np.cos(a), y + 4 * np.sin(a), 3.2, 2, a), tone, BACKGROUND)
    c.fill(ellipse(x, y, 2.2, 2.2), (0.95, 0.75, 0.2), BACKGROUND)


def scene(rng):
    """A Canvas with a portrait, painted from the background to the front."""
    h = Head(rng)
    c = Canvas(rng)
    near = -1 if h.yaw > 0 else 1
    jewel = rng.random() < 0.25
    background = rng.choice([garden, room, lights, bystander])
    for draw in (background, balls, hair_behind, body):
        draw(c, rng, h)
    ear(c, h, -near, jewel)
    skull(c, rng, h)
    ear(c, h, near, jewel)
    for draw in (eyes, brows, mouth, nose, hair_before):
        draw(c, rng, h)
    for draw, odds in ((dusk, 0.3), (glasses, 0.18), (hat, 0.12), (flower, 0.1)):
        if rng.random() < odds:
            draw(c, rng, h)
    return c
