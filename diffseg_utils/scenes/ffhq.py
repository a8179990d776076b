"""Portraits: a face with hair, neck and shoulders, in a garden, a room, among lights or before a bystander."""
import numpy as np

from .canvas import Canvas, box, ellipse, jitter, limb, smooth, turn

NAMES = ["background", "skin", "hair", "brow", "eye", "nose", "mouth", "ear", "neck", "cloth"]
BACKGROUND, SKIN, HAIR, BROW, EYE, NOSE, MOUTH, EAR, NECK, CLOTH = range(len(NAMES))
SKINS = [(.98, .84, .74), (.95, .76, .62), (.88, .67, .50), (.78, .55, .38), (.62, .41, .27), (.46, .29, .19)]
HAIRS = [(.10, .08, .08), (.20, .12, .08), (.36, .21, .12), (.55, .25, .12), (.70, .48, .24), (.90, .75, .45),
         (.70, .69, .68), (.80, .42, .55)]
STYLES = {  # odds, crown height, half width, where the front hair ends at the sides, where the back hair ends
    "short": (.24, 1.22, 1.03, -.20, None), "buzz": (.07, 1.09, .97, -.25, None), "bald": (.04, 0, 0, 0, None),
    "bun": (.12, 1.17, 1.03, -.22, None), "tucked": (.16, 1.20, 1.06, -.22, 1.35), "curls": (.10, 1.33, 1.25, .15, .45),
    "pigtails": (.08, 1.17, 1.04, -.22, None), "bob": (.08, 1.22, 1.14, .70, .80), "long": (.11, 1.22, 1.14, 1, 1.6)}
HAIRLINES = np.array([(-.62, -.66, -.70, -.66, -.62), (-.47, -.46, -.48, -.46, -.47), (-.40, -.62, -.85, -.60, -.38),
                      (-.74, -.72, -.62, -.52, -.36), (-.66, -.80, -.64, -.80, -.66)])  # round, fringe, parted, ...


class Head:
    """Pose and palette of one head; its own coordinates: u -1..1 from side to side, v -1..1 from crown to chin."""

    def __init__(self, rng):
        size = rng.uniform(.92, 1.17)
        self.rx, self.ry = size * rng.uniform(15, 18), size * rng.uniform(19, 21.5)
        self.x, self.y = 32 + rng.normal(0, 3), 29.5 + rng.normal(0, 1.8)
        self.yaw, self.pitch, self.tilt = rng.uniform(-.36, .36), rng.uniform(-.06, .09), rng.normal(0, .14)
        self.skin, self.hair = jitter(rng, rng.choice(SKINS), .03), jitter(rng, rng.choice(HAIRS), .03)
        self.style = rng.choice(list(STYLES), p=[s[0] for s in STYLES.values()])
        _, self.crown, self.wide, self.front, self.back = STYLES[self.style]
        self.eye_u, self.eye_v = rng.uniform(.37, .45), rng.uniform(-.13, -.04)

    def at(self, points, front=1.0):
        """Pixels of head points; `front` is how far they lie before the head's axis, so how far they follow a turn."""
        u, v = np.asarray(points, float).T
        x = self.x + self.rx * (u + front * self.yaw * np.maximum(1 - u**2, 0))
        y = self.y + self.ry * (v + front * self.pitch * np.maximum(1 - v**2, 0))
        return turn(np.stack([x, y], 1), self.tilt, (self.x, self.y + .8 * self.ry))


def mirror(half):
    """A closed outline: its right half and the mirror image of that."""
    p = np.asarray(half, float)
    return np.concatenate([p, p[::-1] * (-1, 1)])


def garden(c, rng, h):
    y, green = rng.uniform(15, 45), rng.uniform((.2, .35, .1), (.5, .65, .3))
    c.rgb[:] = rng.uniform((.5, .7, .85), (.8, .88, 1))
    hill = smooth([(x, y + rng.normal(0, 4)) for x in range(-8, 80, 16)], closed=False)
    c.fill(np.concatenate([hill, [(72, 70), (-8, 70)]]), green, texture="fur")
    for x in rng.uniform([0, 46], [18, 64]):
        c.fill(limb([(x, 64), (x + 1, y)], 3), (.35, .25, .17))
        c.fill(ellipse(x, y - 4, rng.uniform(6, 11), rng.uniform(7, 14)), jitter(rng, green * .8), texture="spots")


def room(c, rng, h):
    x, y, w = rng.choice([rng.uniform(-8, 8), rng.uniform(42, 54)]), rng.uniform(3, 12), rng.uniform(12, 20)
    c.fill(box(0, 0, 64, 64), rng.uniform(.3, .95, 3), texture=rng.choice(["cloud", "stripes", "checks", "spots"]),
           contrast=rng.uniform(.03, .14))
    c.fill(box(x - 1.5, y - 1.5, x + w + 1.5, y + w * 1.5 + 1.5), (.9, .87, .8))
    sky = rng.uniform((.3, .4, .5), (.7, .85, 1))
    for pane in (x, x + w / 2 + .6):
        c.fill(box(pane, y, pane + w / 2 - .6, y + w * 1.5), sky, texture="cloud")
    c.rgb[int(rng.uniform(168, 216)):] = rng.uniform(.2, .7, 3)            # the floor, or a table


def lights(c, rng, h):
    c.rgb[:] = rng.uniform(.08, .4, 3)
    warm = rng.uniform(.4, 1, (3, 3))
    for x, y, r in rng.uniform((0, 0, 2), (64, 60, 6), (14, 3)):
        c.fill(ellipse(x, y, r, r), rng.choice(warm), opacity=.6)


def bystander(c, rng, h):
    x, y, r = rng.choice([rng.uniform(2, 10), rng.uniform(54, 62)]), rng.uniform(18, 32), rng.uniform(6, 9)
    room(c, rng, h) if rng.random() < .5 else garden(c, rng, h)
    for dy, rx, ry, tone in ((-.2, 1.2, 1.4, h.hair), (3.4, 2, 2.2, rng.uniform(.2, .9, 3)), (.3, .9, 1.1, h.skin)):
        c.fill(ellipse(x, y + dy * r, rx * r, ry * r), jitter(rng, tone))


def balls(c, rng, h):
    """Things that share the face's colours."""
    for x in rng.choice([4, 12, 52, 60], rng.integers(0, 4), replace=False) + rng.normal(0, 2):
        tone, r = jitter(rng, h.skin if rng.random() < .5 else h.hair, .04), rng.uniform(3, 8)
        c.fill(ellipse(x, rng.uniform(2, 52), r, r * rng.uniform(.7, 1.4), rng.uniform(0, 3)), tone)


def hair_behind(c, rng, h):
    if h.style == "bun":
        c.fill(h.at(ellipse(rng.uniform(-.4, .4), -1.2, .42, .3), 0), h.hair, HAIR)
    if h.style == "pigtails":
        for s in (-1, 1):
            path = [(s * .9, -.5), (s * 1.4, -.3), (s * 1.4, .4), (s * rng.uniform(1.2, 1.6), 1)]
            c.fill(limb(h.at(path, 0), (3, 9, 8, 2)), h.hair, HAIR)
    if h.back is not None:
        flare, end = h.wide * rng.uniform(1, 1.2), h.back + rng.uniform(-.1, .15)
        half = [(.5, -h.crown * .8), (h.wide, -.5), (flare, .2), (flare, end * .8), (flare * .75, end)]
        c.fill(smooth(h.at(mirror(half), 0)), h.hair * .8, HAIR, "cloud")


def body(c, rng, h):
    x, y, w = h.x, h.y + h.ry, h.rx * rng.uniform(.5, .66)
    base = y + h.ry * rng.uniform(.16, .32)
    c.fill(smooth(mirror([(w, -8), (w, base - y), (1.5 * w, base - y + 9)]) + (x, y)), h.skin * .93, NECK)
    c.fill(ellipse(x + h.yaw * 6, y - 1, w * 1.1, 4), h.skin * .7, opacity=.6, clip=NECK)     # the chin's shadow
    tones = [rng.uniform(.15, .95, 3), h.skin, h.hair, h.hair * 1.5]
    tone = jitter(rng, tones[rng.choice(4, p=[.6, .14, .14, .12])], .04)
    dip = base + rng.choice([-3, 3, 9])                                    # turtleneck, round neck, deep neck
    half = [(1.05 * w, base - 2), (1.9 * w, base + 2), (2.2 * h.rx, base + 7), (2.6 * h.rx, 75)]
    c.fill(smooth(np.concatenate([[(0, dip)], mirror(half)]) + (x, 0)), tone, CLOTH, contrast=rng.uniform(.05, .4),
           texture=rng.choice(["cloud", "stripes", "checks", "spots"]))
    if rng.random() < .35:
        for s in (-1, 1):                                                  # the collar
            flap = [(s * w, base - 3), (s * 1.6 * w, base + 1), (s * .9 * w, base + 6), (0, dip + 1)]
            c.fill(np.array(flap) + (x, 0), tone * 1.25, CLOTH)


def ear(c, h, side, jewel):
    if h.front > 0:                                                        # hidden by the hair
        return
    u = side * (.97 - .45 * max(-side * h.yaw, 0))                         # the near ear comes forward in a turn
    shell = [(u, -.2), (u + side * .15, -.24), (u + side * .22, -.05), (u + side * .12, .2), (u, .2)]
    c.fill(h.at(smooth(shell), 0), h.skin * .95, EAR)
    c.fill(h.at(ellipse(u + side * .1, -.05, .06, .12), 0), h.skin * .68, opacity=.8)
    if jewel:
        c.fill(h.at(ellipse(u + side * .1, .24, .06, .05), 0), (.95, .85, .4))


def skull(c, rng, h):
    jaw = rng.uniform(-.1, .1)
    half = [(.6, -.86), (.93, -.4), (.95, .1), (.82 + jaw, .52), (.44 + jaw, .9), (0, 1)]
    c.fill(smooth(h.at(mirror(half), .3)), h.skin, SKIN)
    blush = rng.uniform(0, .6)
    for u in (-.55, .55):
        c.fill(h.at(ellipse(u, .28, .24, .16)), h.skin * (1.08, .78, .75), opacity=blush, shade=0, clip=SKIN)
    if h.style in ("short", "buzz", "bald", "curls") and rng.random() < .4:
        beard = [(0, .36), (.42, .36), (.62, .3), (.86, -.02), (.97, .1), (.9, .6), (.5, 1.05), (0, 1.05)]
        c.fill(smooth(h.at(mirror(beard), .4)), h.hair, texture="fur", clip=SKIN, opacity=rng.uniform(.3, .95))


def eyes(c, rng, h):
    w, gaze, iris = .25, rng.normal(0, .05), rng.uniform(.1, .5, 3)
    open_ = rng.uniform(.09, .13) if rng.random() < .93 else .03
    makeup, tone = rng.random() < .25, rng.uniform(.2, .7, 3)
    for u, v in ((-h.eye_u, h.eye_v), (h.eye_u, h.eye_v)):
        if makeup:
            c.fill(h.at(ellipse(u, v - .04, .31, .18)), tone, opacity=.5, clip=SKIN)
        lid = [(u - w, v), (u - .1, v - open_), (u + .1, v - open_), (u + w, v - .02)]
        c.fill(smooth(h.at(lid + [(u, v + open_)])), (.96, .95, .92) if open_ > .05 else h.skin * .85, EYE)
        if open_ > .05:
            (x, y), r = h.at([(u + gaze, v - .01)])[0], .13 * h.rx
            c.fill(ellipse(x, y, r, r), iris, clip=EYE)
            c.fill(ellipse(x, y, r * .55, r * .55), (.05, .04, .04), clip=EYE)
            c.fill(ellipse(x - .6, y - .7, .5, .5), (1, 1, 1))
        c.fill(limb(h.at(lid), (.5, 1, .5)), (.12, .08, .07), EYE)


def brows(c, rng, h):
    v, mood = h.eye_v - .27 + rng.normal(0, .02), rng.normal(0, .03)
    bushy, tone = rng.uniform(1.7, 2.5), rng.uniform(.6, 1)
    for s in (-1, 1):
        arch = [(s * (h.eye_u - .26), v + .03 - mood), (s * (h.eye_u + .02), v - .05), (s * (h.eye_u + .28), v + .05)]
        c.fill(limb(h.at(arch), np.array((.9, 1, .4)) * bushy), h.hair * tone, BROW)


def nose(c, rng, h):
    w, end, dark = rng.uniform(.19, .28), rng.uniform(.23, .34), -np.sign(np.cos(c.light))
    half = [(.08, -.14), (.1, .05), (w, end - .08), (w * .85, end), (.08, end + .05)]
    c.fill(smooth(h.at(mirror(half), 1.3)), np.minimum(h.skin * 1.05, 1), NOSE)
    flank = np.array([(.02, -.14), (.04, end - .1), (w, end + .05), (w * 1.2, end - .1), (.1, 0)]) * (dark, 1)
    c.fill(smooth(h.at(flank, 1.3)), h.skin * .7, opacity=.55, clip=NOSE)
    for u in (-.5, .5):
        c.fill(h.at(ellipse(u * w, end, .05, .028), 1.3), h.skin * .4, clip=NOSE)


def mouth(c, rng, h):
    w, y, fat, gape = rng.uniform(.3, .44), rng.uniform(.54, .63), rng.uniform(.07, .1), rng.choice([0, .05, .11])
    up = y - rng.uniform(-.02, .12)                                        # the corners: a smile, or seldom a pout
    lips = h.skin * (.88, .6, .6) if rng.random() < .6 else rng.uniform((.6, .05, .1), (.9, .3, .4))
    rim = mirror([(.2, y + fat + gape), (w, up), (.12, y - fat), (.04, y - fat * .75)])
    c.fill(smooth(h.at(rim)), lips, MOUTH)
    line = [(-w * .8, up + .01), (0, y + .02 - gape / 3), (w * .8, up + .01)]
    if gape:
        c.fill(smooth(h.at(line + [(.15, y + gape + .02), (-.15, y + gape + .02)])), (.35, .08, .08), clip=MOUTH)
        c.fill(smooth(h.at(line + [(0, y + .06)])), (.97, .95, .9), clip=MOUTH)                  # teeth
    else:
        c.fill(limb(h.at(line), .6), lips * .5, clip=MOUTH)


def hair_before(c, rng, h):
    if h.style == "bald":
        return
    line = (HAIRLINES[0] if h.style == "buzz" else rng.choice(HAIRLINES))[::rng.choice([-1, 1])] + rng.normal(0, .03, 5)
    side = min(-.4, h.front - .1)
    crown = mirror([(h.wide, h.front), (h.wide, side), (h.wide * .8, -.71 * h.crown), (.36, -h.crown)])
    inner = [(-.82, h.front), (-.84, -.34), *zip((-.7, -.38, 0, .38, .7), line), (.84, -.34), (.82, h.front)]
    outer = smooth(h.at(crown, .15), closed=False)
    if h.style == "curls":
        t = np.linspace(-.35, np.pi + .35, 70)
        round_ = np.stack([h.wide * np.cos(t), -.25 - 1.05 * np.sin(t)], 1)
        outer = h.at(round_ * (1 + .07 * abs(np.sin(7 * t + rng.uniform(0, 3))))[:, None], .15)
    c.fill(np.concatenate([outer, smooth(h.at(inner, .8), closed=False)]), h.hair, HAIR, "cloud")
    for i, u in enumerate(rng.uniform(-.9, .9, 5)):                        # strands, light and dark
        strand = h.at([(u * .5, -h.crown), (u * .9, -.75), (u * 1.15, max(h.front, -.3))], .2)
        c.fill(limb(strand, (.3, 1, .3)), h.hair * (1.5, .6)[i % 2] + .05, clip=HAIR, opacity=.5)


def dusk(c, rng, h):
    """One shadow over everything on the far side of the light."""
    half = [(.1, -1.4), (.2, 0), (.1, 1.1), (1.3, 1.1), (1.3, -1.4)] * np.array([-np.sign(np.cos(c.light)), 1])
    c.fill(smooth(h.at(half)), h.skin * .2, opacity=.3, shade=0, clip=range(SKIN, NECK))


def glasses(c, rng, h):
    dark, tone, r = rng.random() < .2, rng.uniform(0, .5, 3), rng.uniform(.28, .33)
    for u in (-h.eye_u, h.eye_u):
        rim = h.at(ellipse(u, h.eye_v + .03, r, r * .7), 1.1)
        if dark:                                                           # clear glass keeps the labels behind it
            c.fill(rim, tone * .5, BACKGROUND, shade=.4)
        c.fill(limb(np.concatenate([rim, rim[:2]]), .9), tone)
    c.fill(limb(h.at([(-.12, h.eye_v), (0, h.eye_v - .02), (.12, h.eye_v)], 1.1), 1), tone)


def hat(c, rng, h):
    tone, edge = jitter(rng, rng.choice([h.skin, h.hair, *rng.uniform(.2, .95, (3, 3))])), rng.uniform(-.72, -.58)
    crown = mirror([(1.08, edge), (1, -1.1), (.5, -1.5)])
    c.fill(smooth(h.at(crown, .1)), tone, BACKGROUND, rng.choice(["cloud", "stripes", "checks"]))
    c.fill(h.at(ellipse(0, edge - .02, rng.choice([1.1, 1.75]), .13), .1), tone * .75, BACKGROUND)


def flower(c, rng, h):
    x, y = h.x + rng.choice([-1, 1]) * h.rx * rng.uniform(.5, 1.3), h.y + h.ry * rng.uniform(.2, 1.2)
    tone = rng.uniform(.5, 1, 3)
    c.fill(limb([(x, y), (x + 3, 66)], 1.6), (.3, .5, .2), BACKGROUND)
    for a in np.arange(6) * 1.047:
        c.fill(ellipse(x + 4 * np.cos(a), y + 4 * np.sin(a), 3.2, 2, a), tone, BACKGROUND)
    c.fill(ellipse(x, y, 2.2, 2.2), (.95, .75, .2), BACKGROUND)


def scene(rng):
    h, c = Head(rng), Canvas(rng)
    near, jewel = -1 if h.yaw > 0 else 1, rng.random() < .25
    for draw in (rng.choice([garden, room, lights, bystander]), balls, hair_behind, body):
        draw(c, rng, h)
    ear(c, h, -near, jewel)
    skull(c, rng, h)
    ear(c, h, near, jewel)
    for draw in (eyes, brows, mouth, nose, hair_before):
        draw(c, rng, h)
    for draw, odds in ((dusk, .3), (glasses, .18), (hat, .12), (flower, .1)):
        if rng.random() < odds:
            draw(c, rng, h)
    return c
