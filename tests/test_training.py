"""Training against a plain loop, the stop rule, resuming, and the compression of features."""

from types import SimpleNamespace

import oracle
import pytest
import torch
from ensembles import as_sequential, assert_same_member, normal, random_maps
from torch.testing import assert_close

from diffseg_utils import training
from diffseg_utils.classifiers import PixelEnsemble
from diffseg_utils.features import FeatureMaps
from diffseg_utils.presets import RECIPES
from diffseg_utils.training import compress, draw_pool, expand, train

# ---- training -----------------------------------------------------------------------------------

SIZE, CLASSES, IGNORE = 16, 4, 255
SEED = 13  # all members stop before 100 epochs, in the order 0, 2, 1


@pytest.fixture(scope="module")
def maps():
    """Two images with 9 features, some of them at label resolution."""
    return random_maps()


@pytest.fixture(scope="module")
def labels(maps):
    """Classes that can be learned in part; about 370 pixels are scored."""
    features = upsampled(maps)
    label = (features[..., 0] > 0).long() + 2 * (
        features[..., 4] + normal(2, SIZE, SIZE, seed=3) > 0
    )
    drawn = torch.rand((2, *label.shape), generator=torch.Generator().manual_seed(4))
    label = torch.where(drawn[0] < 0.6, (4 * drawn[1] * 0.99).long(), label)
    return label.masked_fill(
        torch.rand(label.shape, generator=torch.Generator().manual_seed(5)) < 0.25, IGNORE
    )


@pytest.fixture(scope="module")
def quick(maps, labels):
    """quick(**knobs): a short training of three small members."""

    def quick(**knobs):
        return train(
            maps,
            labels,
            CLASSES,
            IGNORE,
            **{"n_members": 3, "widths": (16, 8), "epochs": 3, **knobs},
        )

    return quick


def upsampled(maps):
    """[B, H, W, D]."""
    return torch.stack([maps.upsampled(i, SIZE) for i in range(maps.n_images)]).permute(0, 2, 3, 1)


def plain_pixels(maps, labels):
    """(features [P, D], classes [P]) of the scored pixels, image by image, row by row, the
    published way.
    """
    return upsampled(maps)[labels != IGNORE], labels[labels != IGNORE]


@pytest.fixture(scope="module")
def plain(maps, labels):
    """[(net, losses)] of three members trained to their stop in float64, one after another, by
    the oracle.
    """
    x, y = plain_pixels(maps, labels)
    start, trained = PixelEnsemble(3, 9, CLASSES, (16, 8), torch.Generator().manual_seed(SEED)), []
    for member in range(3):
        net = as_sequential(start, member).double()
        losses = oracle.train(
            net,
            x.double(),
            y,
            lambda epoch, m=member: training._shuffle(len(y), SEED, m, epoch).long(),
        )
        trained.append((net, losses))
    return trained


def test_published_training_is_the_plain_loop_to_its_stop(maps, labels, plain):
    """Members stop at different steps and keep the weights and statistics they had there."""
    start = PixelEnsemble(3, 9, CLASSES, (16, 8), torch.Generator().manual_seed(SEED)).double()
    scored = labels != IGNORE
    whole, pixels = FeatureMaps([upsampled(maps)]), scored.nonzero()
    read = training.read_from_maps(whole, pixels, SIZE)
    ensemble, history = training.fit(start, read, labels[scored], RECIPES["published"], SEED, 100)
    stops = [len(losses) for _, losses in plain]
    assert stops[0] < stops[2] < stops[1], (
        "with this seed, the members that go on are not the first ones"
    )
    assert max(stops) < 100 * (scored.sum() // 64), "all of them stopped by the rule"
    assert history.groupby("member").step.max().tolist() == stops
    assert not ensemble.training
    for member, (net, losses) in enumerate(plain):
        assert_same_member(ensemble, member, net, atol=1e-8, rtol=1e-6)
        mine = history[history.member == member]
        assert mine.loss.tolist() == pytest.approx(
            [losses[step - 1] for step in mine.step], abs=1e-8
        )


def test_the_stop_rule_by_hand():
    """Epochs of 20 batches; 80 batches are not counted, the next sets the best, the 51st in a row
    without a better one stops.
    """

    def stops_at(loss):
        run = SimpleNamespace(alive=[0], best=[torch.inf], waits=[0], recipe=RECIPES["published"])
        return next(
            (
                step
                for step in range(400)
                if training._Trainer.stop_rule(run, [loss(step)], step // 20) == []
            ),
            None,
        )

    assert stops_at(lambda step: 1.0) == 131  # an equal loss is not better
    assert (
        stops_at(lambda step: 0.1 if step == 79 else 1.0) == 131
    )  # what was before epoch index 4 is not counted
    assert stops_at(lambda step: 0.9 if step == 131 else 1.0) == 131 + 51  # just in time
    assert stops_at(lambda step: 0.9 if step == 132 else 1.0) == 131  # too late
    assert stops_at(lambda step: -step) is None


def test_moments_that_fade_become_zero_before_they_are_denormal():
    """Features that are always zero have no gradient: what their moments hold fades; of those
    that matter none is touched.
    """
    run = training._Trainer(
        PixelEnsemble(2, 9, CLASSES, (16, 8), torch.Generator().manual_seed(0)),
        RECIPES["published"],
        100,
        "",
    )
    x = torch.randn(2, 64, 9, generator=torch.Generator().manual_seed(1)) * (torch.arange(9) > 3)
    for step in range(1, training.SWEEP + 1):
        run.update(x, torch.arange(128).view(2, 64) % CLASSES)
        moments = run.optimiser.state[run.live.weight0]
        if step < training.SWEEP:
            moments["exp_avg"][:, :2], moments["exp_avg"][:, 2:4], moments["exp_avg_sq"][:, :4] = (
                1e-37,
                1e-30,
                1e-37,
            )
    assert not moments["exp_avg"][:, :2].any() and not moments["exp_avg_sq"][:, :4].any()
    assert (moments["exp_avg"][:, 2:4] > 0).all() and (moments["exp_avg_sq"][:, 4:] > 0).any()


def test_train_is_the_plain_loop_in_float32(maps, labels, quick):
    x, y = plain_pixels(maps, labels)
    ensemble, _ = quick(epochs=6)
    start = PixelEnsemble(3, 9, CLASSES, (16, 8), torch.Generator().manual_seed(0))
    for member in range(3):
        net = as_sequential(start, member)
        oracle.train(
            net,
            x,
            y,
            lambda epoch, m=member: training._shuffle(len(y), 0, m, epoch).long(),
            epochs=6,
        )
        assert_same_member(ensemble, member, net, atol=1e-4, rtol=1e-4)


def test_float16_maps_train_as_the_same_numbers_in_float32(maps, quick, labels):
    half = FeatureMaps([m.half() for m in maps.maps])
    full = FeatureMaps([m.float() for m in half.maps])
    a, b = (train(m, labels, CLASSES, IGNORE, 2, widths=(16, 8), epochs=2)[0] for m in (half, full))
    assert_close(dict(a.state_dict()), dict(b.state_dict()), atol=0, rtol=0)


def test_shuffles_are_permutations_that_differ_by_seed_member_and_epoch():
    orders = [
        training._shuffle(50, *which).tolist()
        for which in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len(set(map(tuple, orders))) == 4


def test_the_same_seed_gives_the_same_and_another_seed_another(quick):
    a, b, c = (quick(seed=seed)[0] for seed in (0, 0, 1))
    assert_close(dict(a.state_dict()), dict(b.state_dict()), atol=0, rtol=0)
    assert not torch.allclose(a.weight2, c.weight2)
    assert not torch.allclose(a.weight2[0], a.weight2[1])


def test_it_learns_and_reports(quick):
    reports = []
    _, history = quick(epochs=20, report=lambda *done: reports.append(done))
    assert history.columns.tolist() == ["member", "step", "loss"]
    first, last = history[history.step <= 5].loss.mean(), history[history.step > 80].loss.mean()
    assert last < 0.9 * first
    assert reports[-1][0] == reports[-1][1] == 20 * 5


def test_the_tuned_recipe(maps, labels, monkeypatch):
    monkeypatch.setitem(RECIPES, "tuned", {**RECIPES["tuned"], "batch": 128, "steps": 60})
    ensemble, history = train(maps, labels, CLASSES, IGNORE, 2, "tuned", widths=(16, 8))
    assert history.step.max() == 60
    assert history[history.step > 50].loss.mean() < 0.9 * history[history.step <= 3].loss.mean()
    x, y = plain_pixels(maps, labels)
    assert (
        ensemble.member_logits(x).argmax(2) == y
    ).float().mean() > 1.5 * y.bincount().max() / len(y)


# ---- resuming -----------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


@pytest.mark.parametrize(
    "recipe, epochs, interrupt",
    [
        ("published", 4, 9),  # in the middle of an epoch, all members alive
        ("published", 100, "waiting"),  # some members have left the batch, the last is about to
        ("tuned", 100, 41),
    ],
)
def test_an_interrupted_training_goes_on_to_the_same_result(
    quick, tmp_path, monkeypatch, recipe, epochs, interrupt
):
    monkeypatch.setitem(RECIPES, "tuned", {**RECIPES["tuned"], "batch": 128, "steps": 60})
    monkeypatch.setitem(RECIPES, "published", {**RECIPES["published"], "patience": 15})  # for speed
    monkeypatch.setattr(
        training, "GATHER_BYTES", 3 * 64 * 9 * 4
    )  # one to three steps a gather: saved inside epochs
    expected, expected_history = quick(recipe=recipe, epochs=epochs)
    if interrupt == "waiting":
        stops = expected_history.groupby("member").step.max()
        interrupt = stops.max() - 3
        assert stops.min() < interrupt < 400
    steps, update = [], training._Trainer.update

    def counted(run, x, target):
        if run.step == interrupt and len(steps) == interrupt:
            raise Interrupted
        steps.append(run.step)
        return update(run, x, target)

    monkeypatch.setattr(training._Trainer, "update", counted)
    with pytest.raises(Interrupted):
        quick(recipe=recipe, epochs=epochs, checkpoint=tmp_path / "training.pt", save_every=-1)
    steps.append("resumed")
    ensemble, history = quick(
        recipe=recipe, epochs=epochs, checkpoint=tmp_path / "training.pt", save_every=-1
    )
    resumed_at = steps[steps.index("resumed") + 1]
    assert interrupt - 3 <= resumed_at <= interrupt
    assert_close(dict(ensemble.state_dict()), dict(expected.state_dict()), atol=0, rtol=0)
    assert history.equals(expected_history)


def test_a_checkpoint_of_another_training_is_refused(quick, tmp_path):
    quick(checkpoint=tmp_path / "training.pt", save_every=-1)
    for other in ({"widths": (8, 8)}, {"seed": 1}, {"epochs": 4}):
        with pytest.raises(
            ValueError, match=r"training\.pt: this checkpoint belongs to another training"
        ):
            quick(checkpoint=tmp_path / "training.pt", **other)


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 16, 8), (3, 16, 16), (16, 16)])
def test_labels_that_do_not_fit(maps, shape):
    with pytest.raises(ValueError, match=r"labels of shape .* do not fit 2 images of square size"):
        train(maps, torch.zeros(shape, dtype=torch.int64), CLASSES, IGNORE)


def test_too_few_labelled_pixels(maps, labels):
    few = torch.full_like(labels, IGNORE)
    few.view(-1)[:63] = 1
    with pytest.raises(ValueError, match="63 labelled pixels are fewer than one batch of 64"):
        train(maps, few, CLASSES, IGNORE)


def test_an_unknown_recipe(quick):
    with pytest.raises(ValueError, match="unknown recipe 'best'; choose from published, tuned"):
        quick(recipe="best")


# ---- the compression of features ----------------------------------------------------------------


@pytest.fixture
def two_directions():
    """[2000, 6]: two strong directions with other means and units, and a little noise."""
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(2000, 2, generator=g)
    mixed = hidden @ torch.tensor([[1.0, 2, 0, 1, 0, 1], [0, 1, 3, 0, 1, -1]]) + 0.01 * torch.randn(
        2000, 6, generator=g
    )
    return mixed * torch.tensor([1.0, 10, 100, 0.1, 1, 1]) + torch.arange(6)


@pytest.mark.parametrize(
    "balance, share", [(0.0, 0.99), (0.5, 99**0.5 / (1 + 99**0.5)), (1.0, 0.5)]
)
def test_the_pool_favours_rare_classes_by_its_power(balance, share):
    targets = torch.tensor([4] * 9900 + [2] * 100)
    pool = draw_pool(targets, 20_000, balance, torch.Generator().manual_seed(0))
    assert pool.shape == (20_000,) and pool.min() >= 0 and pool.max() < 10_000
    assert (targets[pool] == 4).double().mean().item() == pytest.approx(share, abs=0.015)
    assert len(pool[targets[pool] == 2].unique()) > 60, "within a class any pixel may come"


@pytest.mark.parametrize("whitening, ratio", [(0.0, None), (0.5, 0.5), (1.0, 0.0)])
def test_components_are_uncorrelated_and_keep_what_there_is(two_directions, whitening, ratio):
    kept, mean, basis = compress(
        lambda index: two_directions[index], torch.arange(2000), 2, whitening, 0
    )
    assert_close(kept, (two_directions - mean) @ basis)
    assert kept.mean(0).abs().max() < 1e-4 and torch.corrcoef(kept.T)[0, 1].abs() < 1e-3
    spread = kept.std(0)
    plain = compress(lambda index: two_directions[index], torch.arange(2000), 2, 0.0, 0)[0].std(0)
    if ratio is not None:
        assert_close(
            (spread[0] / spread[1]).log(), (plain[0] / plain[1]).log() * ratio, atol=1e-3, rtol=0
        )
    scaled = (two_directions - two_directions.mean(0)) / two_directions.std(0)
    lost = scaled - kept @ torch.linalg.lstsq(kept, scaled).solution
    assert lost.pow(2).mean() < 0.01, "two components hold what two directions made"


def test_more_components_than_features_are_all_of_them(two_directions):
    assert compress(lambda index: two_directions[index], torch.arange(2000), 256, 0.5, 0)[
        0
    ].shape == (
        2000,
        6,
    )


def test_the_expanded_ensemble_answers_the_same_on_all_features(two_directions):
    kept, mean, basis = compress(lambda index: two_directions[index], torch.arange(2000), 2, 0.5, 0)
    small = PixelEnsemble(3, 2, 4, (8, 5), torch.Generator().manual_seed(1)).eval()
    for p in small.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    full = expand(small, mean, basis)
    assert (full.n_features, full.n_classes, full.widths, full.training) == (6, 4, (8, 5), False)
    assert_close(
        full.member_logits(two_directions[:50]),
        small.member_logits(kept[:50]),
        atol=1e-4,
        rtol=1e-4,
    )
