"""Softmax regression: its gradient is autograd's, its step SGD's, its order and its labels do as they should."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch.nn import functional as F

from ganfeat import InputError, SoftmaxRegression
from ganfeat.probes.softmax import loss_and_gradient

X, Y = load_digits(return_X_y=True)


@parametrize_with_checks([SoftmaxRegression(learning_rate=0.01)])
def test_scikit_learn_compatible(estimator, check):
    check(estimator)


def fit(x=X[:500], y=Y[:500], **settings):
    return SoftmaxRegression(**{"max_iter": 3, "device": "cpu", **settings}).fit(x, y)


def test_the_gradient_is_autograds():
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(7, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    x = torch.randn(25, 7, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 4, (25,), generator=generator)
    expected = F.cross_entropy(x @ w, y)
    expected.backward()
    loss, gradient = loss_and_gradient(w.detach(), x, y)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-14, atol=0)
    torch.testing.assert_close(gradient, w.grad, rtol=1e-12, atol=1e-15)
    by_class = gradient.sum(dim=1)  # adding the same to all logits changes no probability
    torch.testing.assert_close(by_class, torch.zeros_like(by_class), rtol=0, atol=1e-15)


def test_training_is_that_of_torch_written_out():
    """torch.optim.SGD over a bias-free nn.Linear: the last batch of every epoch is smaller."""
    ours = fit(batch_size=120, learning_rate=1e-3)
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(64, 10, bias=False)
    with torch.no_grad():
        layer.weight.copy_((0.02 * torch.randn(64, 10, generator=generator)).T)
    sgd = torch.optim.SGD(layer.parameters(), lr=1e-3, momentum=0.9)
    x, y = torch.tensor(X[:500], dtype=torch.float32), torch.tensor(Y[:500])
    curve = []
    for _ in range(3):
        total = 0.0
        for batch in torch.randperm(500, generator=generator).split(120):
            loss = F.cross_entropy(layer(x[batch]), y[batch])
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            total += loss.item() * len(batch)
        curve.append(total / 500)
    np.testing.assert_allclose(ours.coef_, layer.weight.detach().numpy(), atol=2e-6)
    np.testing.assert_allclose(ours.loss_curve_, curve, rtol=1e-5)
    assert curve == sorted(curve, reverse=True)


def test_the_defaults_are_the_protocols():
    model = SoftmaxRegression()
    settings = (model.learning_rate, model.momentum, model.batch_size, model.max_iter, model.init_std)
    assert settings == (2e-4, 0.9, 120, 20, 0.02)


def test_names_and_their_order_do_not_matter():
    """From zero weights, permuted labels permute the columns, and with them the answers."""
    order = np.random.default_rng(0).permutation(10)
    plain, permuted = fit(init_std=0), fit(y=order[Y[:500]], init_std=0)
    np.testing.assert_allclose(permuted.coef_[order], plain.coef_, atol=1e-6)
    assert np.array_equal(permuted.predict(X[500:]), order[plain.predict(X[500:])])
    names = np.array([f"class {k}" for k in range(10)])  # in the same order: the same weights
    named = fit(y=names[Y[:500]])
    assert np.array_equal(named.coef_, fit().coef_)
    assert np.array_equal(named.predict(X[500:]), names[fit().predict(X[500:])])


def test_probabilities_logits_and_answers_agree():
    model = fit()
    logits, p = model.decision_function(X), model.predict_proba(X)
    np.testing.assert_allclose(logits, X @ model.coef_.T, atol=1e-4)
    np.testing.assert_allclose(p, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rtol=1e-4)
    assert np.array_equal(model.predict(X), p.argmax(axis=1))
    pair = Y < 2
    two = fit(X[pair], Y[pair])
    assert two.coef_.shape == (2, 64)
    odds = two.predict_proba(X[pair])[:, 1]
    np.testing.assert_allclose(odds, 1 / (1 + np.exp(-two.decision_function(X[pair]).astype(float))), atol=1e-5)


def test_the_seed_decides_and_nothing_else():
    before = torch.get_rng_state()
    a, b, c = fit(), fit(), fit(random_state=1)
    assert np.array_equal(a.coef_, b.coef_) and not np.array_equal(a.coef_, c.coef_)
    assert torch.equal(torch.get_rng_state(), before)


def test_read_only_rows_and_half_precision():
    frozen = X[:500].astype(np.float16)
    frozen.setflags(write=False)
    assert np.array_equal(fit(frozen).coef_, fit().coef_)  # digits are whole numbers below 17


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"batch_size": 0.5}, "batch_size=0.5"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"init_std": -1}, "init_std=-1"),
        ({"learning_rate": 1e38}, "lower it"),
        ({"y": np.zeros(500)}, "1 class"),
    ],
)
def test_errors(settings, message):
    with pytest.raises(InputError, match=message):
        fit(**settings)


@pytest.mark.parametrize(
    ("settings", "labels"), [({"learning_rate": 1e38}, "abc"), ({}, "a")], ids=["without bound", "one class"]
)
def test_a_refit_that_fails_leaves_the_model_as_it_was(settings, labels):
    model = fit()
    before = {name: np.copy(value) for name, value in vars(model).items() if name.endswith("_")}
    with pytest.raises(InputError):
        model.set_params(**settings).fit(X[:90, :5], np.resize(list(labels), 90))
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(model, name), value)
    assert model.predict(X[:3]).tolist() == fit().predict(X[:3]).tolist()
