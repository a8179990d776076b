"""Every constant: datasets, backbones, training recipes, the values of k. Nothing is computed."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

_BLOB = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/"
_YANDEX = "https://storage.yandexcloud.net/yandex-research/ddpm-segmentation/"
DATA_URLS = [_YANDEX + "datasets.tar.gz"]
CLASSIFIER_URLS = ["https://www.dropbox.com/s/kap229jvmhfwh7i/pixel_classifiers.tar?dl=1"]

# ---- datasets -----------------------------------------------------------------------------------

# The label of pixels beside an image that is not square, or that nobody has labelled: they are
# neither trained on nor counted, under both protocols. (What is ignored counts under "published".)
PADDING = 254


@dataclass(frozen=True)
class Preset:
    """One dataset: its classes, images and backbone, and the class id that is not scored."""

    name: str
    title: str
    classes: tuple  # names in the order of their ids
    counts: dict  # split -> number of images; the first ones in path order
    backbone: str
    ignore_label: int = 255
    label_size: int = 256
    painted: str | None = None  # the family of scenes/, None for image files
    folders: tuple = (("train", "real/train"), ("validation", "ddpm"), ("test", "real/test"))
    skip: tuple = ()  # ((split, images to skip first), ...)
    epochs: int = 100  # at most; the published number
    sides: tuple = ()  # pairs of classes, left and right, that change places in a mirror image

    own: ClassVar[bool] = False  # True for somebody's own folder of images, see own/folder.py
    recipe: ClassVar[str] = "published"  # unless another one is asked for
    n_folds: ClassVar[int] = 0  # folds of the training images that give scores without test images
    unlabelled: ClassVar[bool] = False  # True if labels are sparse scribbles

    @property
    def n_classes(self):
        return len(self.classes)

    def stored_splits(self):
        """The splits that have images of their own."""
        return [split for split, count in self.counts.items() if count]

    def described(self):
        """All that decides results, by name and value."""
        return asdict(self)

    def mirrored_classes(self):
        """The class id that each class has in a mirror image: [C]."""
        other = {a: b for pair in self.sides for a, b in (pair, pair[::-1])}
        return [self.classes.index(other.get(name, name)) for name in self.classes]

    def resized(self, **counts):
        """This dataset with other numbers of images, such as resized(test=500).

        Painted datasets have as many images as one asks for.
        """
        return replace(self, counts={**self.counts, **counts})


def _names(text):
    return tuple(name.strip() for name in text.split(","))


def _counts(train, validation, test):
    return {"train": train, "validation": validation, "test": test}


# The four datasets of the paper.
_PAPER = (
    Preset(
        "bedroom_28",
        "LSUN-Bedroom",
        _names(
            "background, bed, bed footboard, bed headboard, bed side rail, carpet, ceiling, "
            "chandelier / ceiling fan blade, curtain, cushion, floor, table/nightstand/dresser, "
            "table top, picture / mirror, pillow, lamp column, lamp shade, wall, window, "
            "curtain rod, window frame, chair, picture / mirror frame, plinth, door / door frame, "
            "pouf, wardrobe, plant, table staff"
        ),
        _counts(40, 40, 20),
        "lsun_bedroom",
        ignore_label=0,
    ),
    Preset(
        "ffhq_34",
        "FFHQ-256",
        _names(
            "background, head, cheek, chin, ear, ear helix, ear lobule, eye bottom lid, eyelashes, "
            "iris, pupil, sclera, tear duct, eye top lid, eyebrow, forehead, frown, hair, "
            "sideburns, jaw, moustache, inferior lip, oral commissure, superior lip, teeth, neck, "
            "nose, ala of nose, nose bridge, nose tip, nostril, philtrum, temple, wrinkles"
        ),
        _counts(20, 20, 20),
        "ffhq",
    ),
    Preset(
        "cat_15",
        "LSUN-Cat",
        _names(
            "background, back, belly, chest, leg, paw, head, ear, eye, mouth, tongue, nose, tail, "
            "whiskers, neck"
        ),
        _counts(30, 30, 20),
        "lsun_cat",
    ),
    Preset(
        "horse_21",
        "LSUN-Horse",
        _names(
            "background, person, back, barrel, bridle, chest, ear, eye, forelock, head, hoof, leg, "
            "mane, muzzle, neck, nostril, tail, thigh, saddle, shoulder, leg protection"
        ),
        _counts(30, 30, 30),
        "lsun_horse",
    ),
)

# Two others that Baranchuk et al. score.
_OTHERS = (
    Preset(
        "celeba_19",
        "CelebA",
        _names(  # eye_g and u_lip have no training pixel: mIoU is at most 17 / 19 = 89.5 %
            "background, cloth, ear_r, eye_g, hair, hat, l_brow, l_ear, l_eye, l_lip, mouth, neck, "
            "neck_l, nose, r_brow, r_ear, r_eye, skin, u_lip"
        ),
        _counts(20, 0, 500),
        "ffhq",
        sides=(("l_brow", "r_brow"), ("l_ear", "r_ear"), ("l_eye", "r_eye")),
    ),
    Preset(
        "ade_bedroom_30",
        "ADE-Bedroom",
        _names(
            "wall, bed, floor, table, lamp, ceiling, painting, windowpane, pillow, curtain, "
            "cushion, door, chair, cabinet, chest, mirror, rug, armchair, book, sconce, plant, "
            "wardrobe, clock, light, flower, vase, fan, box, shelf, television"
        ),
        _counts(50, 36, 650),
        "lsun_bedroom",  # validation: the 36 training images not trained on
        folders=(("train", "real/train"), ("validation", "real/train"), ("test", "real/test")),
        skip=(("validation", 50),),
    ),
)

# Painted datasets; `diffseg run` makes all of them if none is named. A new one is a row here and a
# module in scenes/.
_MINI = (
    Preset(
        "mini_bedroom",
        "Mini-Bedroom",
        _names(
            "clutter, wall, floor, ceiling, bed, headboard, pillow, window, curtain, lamp, "
            "picture, nightstand, door"
        ),
        _counts(40, 20, 20),
        "mini",
        ignore_label=0,
        label_size=64,
        painted="bedroom",
    ),
    Preset(
        "mini_ffhq",
        "Mini-FFHQ",
        _names("background, skin, hair, brow, eye, nose, mouth, ear, neck, cloth"),
        _counts(20, 20, 20),
        "mini",
        label_size=64,
        painted="ffhq",
    ),
    Preset(
        "mini_cat",
        "Mini-Cat",
        _names("background, back, belly, leg, paw, head, ear, eye, nose, tail"),
        _counts(30, 20, 20),
        "mini",
        label_size=64,
        painted="cat",
    ),
    Preset(
        "mini_horse",
        "Mini-Horse",
        _names("background, head, ear, mane, neck, barrel, leg, hoof, tail, saddle, person"),
        _counts(30, 20, 30),
        "mini",
        label_size=64,
        painted="horse",
    ),
)

# Painted datasets that are made only if they are named: for tests.
_TEST = (
    Preset(
        "mini_smoke",
        "Smoke",
        ("background", "front", "body", "rider"),
        _counts(4, 3, 3),
        "mini",
        label_size=64,
        painted="smoke",
        epochs=1,
    ),
)

DATASETS = {preset.name: preset for preset in _PAPER + _OTHERS + _MINI + _TEST}
MINI = tuple(preset.name for preset in _MINI)
PAPER = tuple(preset.name for preset in _PAPER)

# ---- backbones ----------------------------------------------------------------------------------

_ADM_256 = dict(
    image_size=256,
    num_channels=256,
    num_res_blocks=2,
    num_head_channels=64,
    attention_resolutions="32,16,8",
    class_cond=False,
    learn_sigma=True,
    diffusion_steps=1000,
    noise_schedule="linear",
    resblock_updown=True,
    use_scale_shift_norm=True,
    dropout=0.1,
)
MINI_FLAGS = dict(
    image_size=64,
    num_channels=32,
    channel_mult="1,2,3,4",
    num_res_blocks=1,
    num_head_channels=32,
    attention_resolutions="16,8",
    class_cond=False,
    learn_sigma=False,
    diffusion_steps=1000,
    noise_schedule="linear",
    resblock_updown=True,
    use_scale_shift_norm=True,
)


def _official(name, knows, *more):
    """An official 256 px checkpoint, with the published choice of steps and decoder blocks."""
    urls = [*(base + f"{name}.pt" for base in more), _YANDEX + f"models/ddpm_checkpoints/{name}.pt"]
    return dict(
        flags=_ADM_256,
        checkpoint=f"{name}.pt",
        steps=[50, 150, 250],
        blocks=[5, 6, 7, 8, 12],
        knows=knows,
        urls=urls,
    )


def _shipped(name, knows, images, steps, sha256):
    """A 64 px network in weights/ (see its README.md), which saw so many images in its training."""
    return dict(
        flags=MINI_FLAGS,
        checkpoint=str(Path(__file__).parent / "weights" / f"{name}.safetensors"),
        images=images,
        knows=knows,
        steps=steps,
        blocks=[2, 3, 4, 5, 6],
        sha256=sha256,
    )


BACKBONES = {
    "lsun_bedroom": _official("lsun_bedroom", "bedrooms", _BLOB),
    "ffhq": _official("ffhq", "faces"),
    "lsun_cat": _official("lsun_cat", "cats", _BLOB),
    "lsun_horse": _official("lsun_horse", "horses", _BLOB),
    # OpenAI's unconditional network: photographs of anything. Nobody has published which steps and
    # blocks are best there, so it has those of the others; `diffseg sweep` tells better ones.
    "imagenet": dict(
        flags=_ADM_256 | {"dropout": 0.0},
        checkpoint="256x256_diffusion_uncond.pt",
        steps=[50, 150, 250],
        blocks=[5, 6, 7, 8, 12],
        knows="a thousand kinds of things (ImageNet)",
        urls=[_BLOB + "256x256_diffusion_uncond.pt"],
    ),
    "mini": _shipped(
        "mini",
        "the painted scenes of this kit",
        534_528,
        [5, 50, 150],  # chosen on validation images, see notebook 07
        "5063ee3bc4c4a39c2784db45696bcd21454e5532e0fd5d640a93b4329bcf18d4",
    ),
    "photo": _shipped(
        "photo",
        "rooms, faces and cats",
        187_800,
        [50, 150, 250],
        "50905f43633fe68e9a58da070412269ec7acae66ebd2db36d952634d52a8ed79",
    ),
}

# ---- voting and training ------------------------------------------------------------------------

# 0, 0.25, 0.35, 0.5, ... 64: among these values of k a validation split chooses.
KS = (0.0, *(2 ** (i / 2) for i in range(-4, 13)))

RECIPES = {
    # Baranchuk et al.: batches of 64 pixels. From epoch index 4 on, a member stops when the loss of
    # a single batch has not gone below its best for more than 50 batches in a row.
    "published": dict(batch=64, optimiser="Adam", rate=1e-3, patience=50, patient_from=4),
    # Chosen on validation splits of the mini datasets (notebook 08): a class-balanced sample
    # ("pool") of pixels, where a class of m pixels is drawn m ** (1 - balance) times as often as a
    # class of one pixel; its 256 principal components, half whitened; one cycle of the learning
    # rate.
    "tuned": dict(
        batch=256,
        optimiser="AdamW",
        rate=8e-3,
        steps=1600,
        pool=180_000,
        balance=0.5,
        components=256,
        whitening=0.5,
    ),
}


def choose(kind, name, table):
    """`table[name]`, or a ValueError that names the choices."""
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; choose from {', '.join(table)}")
    return table[name]
