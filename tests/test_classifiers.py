"""Pixel classifiers: prediction from native maps, training against a plain loop, resuming, files of the published code."""

from pathlib import Path
from types import SimpleNamespace

import oracle
import pytest
import torch
from conftest import PUBLISHED_SMALL
from torch.testing import assert_close

from diffseg_utils import training
from diffseg_utils.classifiers import PixelEnsemble, published_widths, train
from diffseg_utils.features import FeatureMaps
from diffseg_utils.presets import RECIPES


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_ensemble(n_members=3, n_features=9, n_classes=5, widths=(16, 8)):
    """Weights, norms and statistics of a size at which every one of them matters."""
    ensemble = PixelEnsemble(n_members, n_features, n_classes, widths)
    with torch.no_grad():
        for i, (name, t) in enumerate(ensemble.state_dict().items()):
            z = normal(*t.shape, seed=i)
            t.copy_(
                z.abs() + 0.5
                if name.startswith("var")
                else z / t.shape[1] ** 0.5
                if name.startswith("weight")
                else z
            )
    return ensemble.eval()


def random_maps(n_images=2, dtype=torch.float32):
    shapes = ((4, 3), (8, 2), (16, 3), (16, 1))
    return FeatureMaps(normal(n_images, h, h, c, seed=h + c).to(dtype) for h, c in shapes)


def as_sequential(ensemble, member):
    """The member as a published classifier."""
    net = oracle.classifier(ensemble.n_features, ensemble.widths, ensemble.n_classes).to(
        ensemble.weight0
    )
    t = {name: value[member] for name, value in ensemble.state_dict().items()}
    with torch.no_grad():
        for i, (linear, norm) in enumerate(((0, 2), (3, 5), (6, None))):
            net[linear].weight.copy_(t[f"weight{i}"].T)
            net[linear].bias.copy_(t[f"bias{i}"])
            if norm:
                net[norm].weight.copy_(t[f"scale{i}"])
                net[norm].bias.copy_(t[f"shift{i}"])
                net[norm].running_mean.copy_(t[f"mean{i}"])
                net[norm].running_var.copy_(t[f"var{i}"])
    return net.eval()


def assert_same_member(ensemble, member, net, **tolerance):
    """All weights and statistics of a trained member are those of `net`."""
    found, expected = (dict(n.state_dict()) for n in (as_sequential(ensemble, member), net))
    for state in (found, expected):
        state.pop("2.num_batches_tracked"), state.pop("5.num_batches_tracked")
    assert_close(found, expected, **tolerance)


# ---- prediction -------------------------------------------------------------------------------------------------------


def test_a_member_is_the_published_sequential():
    ensemble, x = random_ensemble(), normal(50, 9)
    for member in range(3):
        assert_close(
            ensemble.member_logits(x)[member],
            as_sequential(ensemble, member)(x),
            atol=1e-5,
            rtol=1e-5,
        )


@pytest.mark.parametrize("n_members", [1, 10])
@pytest.mark.parametrize(
    "size", [6, 8, 16, 37, 64, 70]
)  # below, equal to, above the maps; 32 rows are a band
def test_probabilities_from_native_maps_equal_the_published_way(size, n_members):
    maps, ensemble = random_maps(), random_ensemble(n_members)
    for image in range(2):
        q = ensemble.probabilities(maps, image, size)
        assert q.shape == (n_members, 5, size, size)
        features = maps.upsampled(image, size).flatten(1).T
        expected = ensemble.member_logits(features).softmax(2).transpose(1, 2).reshape_as(q)
        assert_close(q, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [8, 37, 70])
def test_a_band_of_rows_is_that_part_of_the_image(size):
    maps, ensemble = random_maps(dtype=torch.float16), random_ensemble()
    whole = ensemble.probabilities(maps, 1, size)
    for rows in ((0, 1), (3, 8), (size - 2, size), (0, size)):
        assert_close(
            ensemble.probabilities(maps, 1, size, rows),
            whole[:, :, rows[0] : rows[1]],
            atol=1e-5,
            rtol=0,
        )


def test_wrong_rows_and_wrong_maps_are_refused():
    maps, ensemble = random_maps(), random_ensemble()
    for rows in ((0, 9), (-1, 4), (4, 4), (5, 4)):
        with pytest.raises(ValueError, match="are not within the 8 rows"):
            ensemble.probabilities(maps, 0, 8, rows)
    with pytest.raises(ValueError, match="these maps have 3 features, the classifiers expect 9"):
        ensemble.probabilities(FeatureMaps(maps.maps[:1]), 0, 8)


def test_widths_and_initial_weights_as_published():
    assert [published_widths(c) for c in (2, 29, 30, 34)] == [
        (128, 32),
        (128, 32),
        (256, 128),
        (256, 128),
    ]
    ensemble = PixelEnsemble(4, 300, 34, generator=torch.Generator().manual_seed(0))
    assert (ensemble.n_members, ensemble.n_features, ensemble.n_classes, ensemble.widths) == (
        4,
        300,
        34,
        (256, 128),
    )
    for i in range(3):
        assert getattr(ensemble, f"weight{i}").std().item() == pytest.approx(0.02, rel=0.02)
        assert not getattr(ensemble, f"bias{i}").any()


# ---- files ------------------------------------------------------------------------------------------------------------


def test_save_and_load(tmp_path):
    ensemble = random_ensemble()
    ensemble.save(tmp_path / "deep" / "ensemble.safetensors")
    loaded = PixelEnsemble.load(tmp_path / "deep" / "ensemble.safetensors")
    assert_close(dict(loaded.state_dict()), dict(ensemble.state_dict()), atol=0, rtol=0)
    assert not loaded.training
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["ensemble.safetensors"]


def test_files_that_hold_no_ensemble(tmp_path):
    path = tmp_path / "ensemble.safetensors"
    with pytest.raises(
        FileNotFoundError,
        match=r"ensemble\.safetensors: no classifiers here; run 02_classifier_training",
    ):
        PixelEnsemble.load(path)
    random_ensemble().save(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"ensemble\.safetensors: not an ensemble"):
        PixelEnsemble.load(path)


def publish(net, path, prefix="module.layers.", wrapped=True, **changes):
    state = {f"{prefix}{name}": t for name, t in net.state_dict().items()} | changes
    state = {name: t for name, t in state.items() if t is not None}
    torch.save({"model_state_dict": state} if wrapped else state, path)


@pytest.mark.parametrize("prefix", ["module.layers.", "layers."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_published_files_in_numeric_order(tmp_path, prefix, wrapped):
    ensemble = random_ensemble(n_members=11)
    for i in range(11):
        publish(as_sequential(ensemble, i), tmp_path / f"model_{i}.pth", prefix, wrapped)
    (tmp_path / "predictions").mkdir()
    loaded = PixelEnsemble.from_published(tmp_path)
    assert_close(dict(loaded.state_dict()), dict(ensemble.state_dict()), atol=0, rtol=0)
    assert not loaded.training


def test_published_files_by_name():
    files = [PUBLISHED_SMALL / "classifiers" / f"model_{i}.pth" for i in (3, 1)]
    both, one = PixelEnsemble.from_published(files), PixelEnsemble.from_published(str(files[1]))
    assert (both.n_members, both.n_features, both.n_classes, both.widths) == (2, 480, 6, (128, 32))
    assert torch.equal(both.weight0[1], one.weight0[0])
    assert not torch.equal(both.weight0[0], one.weight0[0])


def refusal(source, error=ValueError):
    with pytest.raises(error) as caught:
        PixelEnsemble.from_published(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_published_files_that_are_not_there(tmp_path):
    assert "none: no such folder" in refusal(tmp_path / "none", FileNotFoundError)
    assert "no classifiers model_0.pth, model_1.pth, ... in it; it holds nothing" in refusal(
        tmp_path, FileNotFoundError
    )
    (tmp_path / "model_best.pth").touch()
    assert "it holds model_best.pth" in refusal(tmp_path, FileNotFoundError)
    assert "model_7.pth: no such classifier file" in refusal(
        [tmp_path / "model_7.pth"], FileNotFoundError
    )
    assert "empty list" in refusal([])


def test_published_files_that_are_damaged_or_foreign(tmp_path):
    path, net = tmp_path / "model_0.pth", as_sequential(random_ensemble(), 0)
    publish(net, path, **{"module.layers.3.bias": None})
    assert (
        "model_0.pth: 1 missing keys, such as layers.3.bias; a published classifier has 14 tensors"
        in refusal(tmp_path)
    )
    publish(net, path, **{"module.layers.9.bias": torch.zeros(2)})
    assert "model_0.pth: 1 unexpected keys, such as layers.9.bias" in refusal(tmp_path)
    publish(net, path, **{"module.layers.5.running_mean": torch.zeros(2)})
    assert "model_0.pth: mean of linear layer 2 has shape (2,)" in refusal(tmp_path)
    torch.save({"model_state_dict": {"epoch": 3}}, path)
    assert "model_0.pth: holds no state dict" in refusal(tmp_path)
    publish(net, path)
    path.write_bytes(path.read_bytes()[:-500])
    assert "model_0.pth: not a file of plain weights" in refusal(tmp_path)


def test_members_of_different_shape(tmp_path):
    publish(as_sequential(random_ensemble(), 0), tmp_path / "model_0.pth")
    publish(as_sequential(random_ensemble(n_classes=6), 0), tmp_path / "model_1.pth")
    sentence = refusal(tmp_path)
    assert (
        "model_1.pth: layers 9 -> 16, 16 -> 8, 8 -> 6, but model_0.pth has layers 9 -> 16, 16 -> 8, 8 -> 5"
        in sentence
    )


class Malicious:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_pickled_code_is_not_executed(tmp_path):
    torch.save({"model_state_dict": Malicious(tmp_path / "executed")}, tmp_path / "model_0.pth")
    assert "no pickled code is executed" in refusal(tmp_path)
    assert not (tmp_path / "executed").exists()


# ---- training ---------------------------------------------------------------------------------------------------------

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
    """(features [P, D], classes [P]) of the scored pixels, image by image, row by row, the published way."""
    return upsampled(maps)[labels != IGNORE], labels[labels != IGNORE]


@pytest.fixture(scope="module")
def plain(maps, labels):
    """[(net, losses)] of three members trained to their stop in float64, one after another, by the oracle."""
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
    rows = lambda index, out: whole.at(*pixels[index].unbind(1), SIZE, out)
    ensemble, history = training.fit(
        start, (rows, labels[scored]), RECIPES["published"], SEED, 100, None, 60, None
    )
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
    """Epochs of 20 batches; 80 batches are not counted, the next sets the best, the 51st in a row without a better one stops."""

    def stops_at(loss):
        run = SimpleNamespace(alive=[0], best=[torch.inf], waits=[0], recipe=RECIPES["published"])
        return next(
            (
                step
                for step in range(400)
                if training._Run.stop_rule(run, [loss(step)], step // 20) == []
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
    """Features that are always zero have no gradient: what their moments hold fades; of those that matter none is touched."""
    run = training._Run(
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


# ---- resuming ---------------------------------------------------------------------------------------------------------


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
    steps, update = [], training._Run.update

    def counted(run, x, target):
        if run.step == interrupt and len(steps) == interrupt:
            raise Interrupted
        steps.append(run.step)
        return update(run, x, target)

    monkeypatch.setattr(training._Run, "update", counted)
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


# ---- errors -----------------------------------------------------------------------------------------------------------


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
