"""Combinations that are fitted first, on validation pixels only: Dawid-Skene, and stacking.

A fit takes the members' probs [N, C, *pixels] and returns a rule like those of voting, probs -> distribution
[C, *pixels], for vote(probs, rule). Give a few ten thousand pixels, not all of them, and mark ignored truth by an id
outside 0..C-1.
"""

from functools import partial

import torch
from sklearn.linear_model import LogisticRegression


def dawid_skene(probs, truth=None, n_steps=30, smoothing=1.0):
    """Rule of Dawid & Skene 1979, with soft answers: member n answers class l where c is true with reliability[n, c, l].

    p_c ~ prior_c prod_n prod_l reliability[n, c, l]^q_nl. Both factors, [C] and [N, C, C], are in rule.keywords. Given
    truth [*pixels] (class ids; pixels with others are left out) they are counted, else n_steps of EM start from the mean
    of the members. smoothing: pixels added to every count. Members are taken for independent; alike ones make p too certain.
    """
    probs, n_classes = probs.flatten(2), probs.shape[1]
    if truth is None:
        belief = probs.mean(0)  # (C, P)
    else:
        probs, truth = _known(probs, truth)
        belief, n_steps = torch.nn.functional.one_hot(truth, n_classes).T.to(probs.dtype), 1
    for _ in range(n_steps):
        counts = torch.einsum("cp,nlp->ncl", belief, probs) + smoothing
        rule = partial(
            _dawid_skene,
            prior=counts[0].sum(1) / counts[0].sum(),
            reliability=counts / counts.sum(2, keepdim=True),
        )
        belief = rule(probs)
    return rule


def _dawid_skene(probs, prior, reliability):
    evidence = (
        torch.einsum("nlp,ncl->cp", probs.flatten(2), reliability.log()) + prior.log()[:, None]
    )
    return torch.softmax(evidence, 0).reshape(probs.shape[1:])


def stacking(probs, truth, strength=1e-3):
    """Rule that a multinomial logistic regression learns from the log-probabilities of all members.

    truth [*pixels] holds class ids; pixels with others are left out, and a class without pixels gets probability 0.
    strength: scikit-learn's C, the inverse of the penalty on squared weights; small, for N * C inputs from members that are
    alike overfit: choose it on validation images that were not fitted. The model is in rule.keywords.
    """
    probs, truth = _known(probs, truth)
    return partial(
        _stacking,
        model=LogisticRegression(C=strength, max_iter=1000).fit(
            _log_features(probs), truth.numpy()
        ),
    )


def _stacking(probs, model):
    result = torch.zeros(probs[0].flatten(1).shape)  # (C, P)
    result[model.classes_] = torch.from_numpy(model.predict_proba(_log_features(probs)).T).float()
    return result.reshape(probs.shape[1:])


def _log_features(probs):
    """[P, N * C]; the floor keeps a rounded zero from outweighing every other member."""
    return probs.flatten(2).clamp(min=1e-6).log().flatten(0, 1).T.numpy()


def _known(probs, truth):
    """The pixels whose truth is a class id: probs [N, C, P], truth int64 [P]."""
    truth = torch.as_tensor(truth).flatten().long()
    known = (truth >= 0) & (truth < probs.shape[1])
    return probs.flatten(2)[..., known], truth[known]
