"""Rules that are fitted first, on validation pixels: Dawid-Skene, and stacking.

A fit takes the members' probs [N, C, *pixels] and returns a rule like those of voting, probs ->
distribution [C, *pixels], for vote(probs, rule). Give it a few ten thousand pixels, not all of
them. Mark pixels of ignored truth by an id outside 0..C-1.
"""

from functools import partial

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

# ---- Dawid-Skene --------------------------------------------------------------------------------


def dawid_skene(probs, truth=None, n_steps=30, smoothing=1.0):
    """The rule of Dawid and Skene (1979), with soft answers of the members.

    Member n answers class l, where c is true, with probability reliability[n, c, l]; then
    p_c ~ prior_c prod_n prod_l reliability[n, c, l]^q_nl. Both factors, prior [C] and reliability
    [N, C, C], are in rule.keywords. Given truth [*pixels] (class ids; pixels with other ids are
    left out) they are counted. Without it, n_steps of EM start from the mean of the members.
    smoothing: pixels added to every count. The rule assumes that members are independent; if they
    are alike, p is too certain.
    """
    if truth is None:
        probs = probs.flatten(2)  # (N, C, P)
        rule = None
        belief = probs.mean(0)  # (C, P)
        for _ in range(n_steps):
            rule = _counted(probs, belief, smoothing)
            belief = rule(probs)
        return rule
    n_classes = probs.shape[1]
    probs, truth = _known(probs, truth)
    belief = F.one_hot(truth, n_classes).T.to(probs.dtype)  # (C, P)
    return _counted(probs, belief, smoothing)


def _counted(probs, belief, smoothing):
    """The rule whose factors are counted in probs [N, C, P], where `belief` [C, P] is the truth."""
    counts = torch.einsum("cp,nlp->ncl", belief, probs) + smoothing  # (N, C, C)
    prior = counts[0].sum(1) / counts[0].sum()  # the same for every member
    reliability = counts / counts.sum(2, keepdim=True)
    return partial(_dawid_skene, prior=prior, reliability=reliability)


def _dawid_skene(probs, prior, reliability):
    votes = torch.einsum("nlp,ncl->cp", probs.flatten(2), reliability.log())  # (C, P)
    evidence = votes + prior.log()[:, None]
    return torch.softmax(evidence, 0).reshape(probs.shape[1:])


# ---- stacking -----------------------------------------------------------------------------------


def stacking(probs, truth, strength=1e-3):
    """The rule that a multinomial logistic regression learns from the members' log-probabilities.

    truth [*pixels] holds class ids; pixels with other ids are left out, and a class without pixels
    gets probability 0. strength: scikit-learn's C, the inverse of the penalty on squared weights.
    It is small, because N * C inputs from members that are alike overfit; choose it on validation
    images that were not fitted. The model is in rule.keywords.
    """
    probs, truth = _known(probs, truth)
    model = LogisticRegression(C=strength, max_iter=1000)
    model.fit(_log_features(probs), truth.numpy())
    return partial(_stacking, model=model)


def _stacking(probs, model):
    result = torch.zeros(probs[0].flatten(1).shape)  # (C, P)
    predicted = model.predict_proba(_log_features(probs)).T  # (classes it has seen, P)
    result[model.classes_] = torch.from_numpy(predicted).float()
    return result.reshape(probs.shape[1:])


def _log_features(probs):
    """Log-probabilities [P, N * C].

    They have a floor, so that a rounded zero does not outweigh all other members.
    """
    return probs.flatten(2).clamp(min=1e-6).log().flatten(0, 1).T.numpy()


def _known(probs, truth):
    """The pixels whose truth is a class id: probs [N, C, P], truth int64 [P]."""
    truth = torch.as_tensor(truth).flatten().long()
    known = (truth >= 0) & (truth < probs.shape[1])
    return probs.flatten(2)[..., known], truth[known]
