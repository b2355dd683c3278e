import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jaxpriv.models import margin

LOSSES = (margin.arcface_loss, margin.cosface_loss, margin.magface_loss)


def problem(seed=0, batch=8, classes=16, dim=12):
  rng = np.random.default_rng(seed)
  weight = rng.normal(size=(classes, dim))
  labels = rng.integers(classes, size=batch)
  embeddings = weight[labels] + 1.5 * rng.normal(size=(batch, dim))
  # Lengths below, inside and above the range [10, 110] of MagFace.
  lengths = np.geomspace(3, 300, batch)[:, None]
  embeddings *= lengths / np.linalg.norm(embeddings, axis=1, keepdims=True)
  return embeddings, weight, labels


def cosines(embeddings, weight):
  unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
  return np.clip(unit(embeddings) @ unit(weight).T, -1, 1)


def cross_entropy(logits, labels):
  top = logits.max(1)
  total = np.exp(logits - top[:, None]).sum(1)
  return top + np.log(total) - logits[np.arange(len(labels)), labels]


def golden(embeddings, weight, labels, scale, target_of):
  """Per-example losses by definition, computed with the angle itself."""
  logits = cosines(embeddings, weight)
  rows = np.arange(len(labels))
  logits[rows, labels] = target_of(np.arccos(logits[rows, labels]))
  return cross_entropy(scale * logits, labels)


def angular(theta, m):
  inside = np.cos(theta + m)
  return np.where(theta + m < np.pi, inside, np.cos(theta) - m * np.sin(m))


def magface_golden(embeddings, weight, labels, scale):
  a = np.clip(np.linalg.norm(embeddings, axis=1), 10, 110)
  m = 0.45 + (0.8 - 0.45) * (a - 10) / (110 - 10)
  losses = golden(
    embeddings, weight, labels, scale, lambda theta: angular(theta, m)
  )
  return losses + 35 * (a / 110**2 + 1 / a)


def test_softmax_value():
  """Lengths matter: a logit is a product, not a cosine."""
  embeddings, weight, labels = problem()
  losses = margin.softmax_loss(embeddings, weight, labels, reduction="none")
  expected = cross_entropy(embeddings @ weight.T, labels)
  np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-4)
  mean = margin.softmax_loss(embeddings, weight, labels)
  assert float(mean) == pytest.approx(expected.mean(), rel=1e-4)
  unknown = np.where(np.arange(8) < 3, [-1, 16] * 4, labels)
  losses = margin.softmax_loss(embeddings, weight, unknown, reduction="none")
  np.testing.assert_array_equal(losses[:3], 0)
  np.testing.assert_allclose(losses[3:], expected[3:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale, m", [(64.0, 0.5), (16.0, 0.3)])
@pytest.mark.parametrize("gradient", margin.GRADIENTS)
def test_arcface_value(scale, m, gradient):
  args = problem(1)
  expected = golden(*args, scale, lambda theta: angular(theta, m))
  got = margin.arcface_loss(*args, scale, m, gradient, reduction="none")
  np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-4)
  mean = margin.arcface_loss(*args, scale, m, gradient)
  assert float(mean) == pytest.approx(expected.mean(), rel=2e-5)


def test_defaults_are_the_papers():
  args = problem(2)
  arc = golden(*args, 64, lambda theta: np.cos(theta + 0.5))
  assert float(margin.arcface_loss(*args)) == pytest.approx(
    arc.mean(), rel=1e-5
  )
  cos = golden(*args, 64, lambda theta: np.cos(theta) - 0.4)
  assert float(margin.cosface_loss(*args)) == pytest.approx(
    cos.mean(), rel=1e-5
  )
  mag = magface_golden(*args, 64)
  assert float(margin.magface_loss(*args)) == pytest.approx(
    mag.mean(), rel=1e-5
  )
  np.testing.assert_allclose(
    margin.magface_loss(*args, reduction="none"), mag, rtol=2e-5
  )


def line(theta):
  """Two classes at right angles, and an embedding at theta from the label."""
  theta = np.atleast_1d(theta)
  embeddings = np.stack([np.cos(theta), np.sin(theta)], 1)
  return embeddings, np.eye(2), np.zeros(len(theta), int)


def test_arcface_falls_beyond_pi():
  theta = np.linspace(2.0, np.pi, 200)
  losses = np.asarray(
    margin.arcface_loss(*line(theta), scale=4.0, reduction="none")
  )
  expected = golden(*line(theta), 4.0, lambda theta: angular(theta, 0.5))
  np.testing.assert_allclose(losses, expected, atol=1e-3)
  # There cos(theta + m) would rise again, and reward larger angles.
  plain = golden(*line(theta), 4.0, lambda theta: np.cos(theta + 0.5))
  assert losses[-1] > plain[-1] + 0.3


def test_magface_easy_margin():
  theta = np.array([0.3, 1.2, 1.9, 3.0])
  embeddings, weight, labels = line(theta)
  args = (10 * embeddings, weight, labels)
  got = margin.magface_loss(*args, 8.0, easy_margin=True, reduction="none")
  easy = lambda theta: np.where(
    theta < np.pi / 2, np.cos(theta + 0.45), np.cos(theta)
  )
  expected = golden(*args, 8.0, easy) + 35 * (10 / 110**2 + 1 / 10)
  np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_exact_gradients(loss):
  with jax.enable_x64(True):
    embeddings, weight, labels = problem(3, batch=4, classes=5, dim=6)
    fn = jax.jit(lambda e, w: loss(e, w, jnp.asarray(labels), scale=4.0))
    args = (jnp.asarray(embeddings), jnp.asarray(weight))
    assert fn(*args).dtype == jnp.float64
    check_grads(fn, args, order=1, modes=["rev"], eps=1e-5, rtol=1e-5)


def straight_through_gradient(embeddings, weight, labels, scale, m):
  """The gradient by hand: softmax of shifted logits, and d logit = s d cos."""
  logits = cosines(embeddings, weight)
  rows = np.arange(len(labels))
  cosine = logits.copy()
  logits[rows, labels] = np.cos(np.arccos(logits[rows, labels]) + m)
  logits *= scale
  p = np.exp(logits - logits.max(1, keepdims=True))
  p /= p.sum(1, keepdims=True)
  p[rows, labels] -= 1
  by_cosine = scale * p / len(labels)
  norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
  unit = embeddings / norms
  units = weight / np.linalg.norm(weight, axis=1, keepdims=True)
  # d cos_j / d e = (w_j - cos_j e) / |e|
  along = (by_cosine * cosine).sum(1, keepdims=True)
  by_embedding = (by_cosine @ units - along * unit) / norms
  along = (by_cosine * cosine).sum(0)[:, None]
  by_weight = by_cosine.T @ unit - along * units
  return by_embedding, by_weight / np.linalg.norm(weight, axis=1, keepdims=True)


def test_straight_through_gradient():
  embeddings, weight, labels = problem(4)
  grad = jax.jit(jax.grad(margin.arcface_loss, (0, 1)), static_argnums=5)
  args = (jnp.asarray(embeddings), jnp.asarray(weight), labels, 16.0, 0.5)
  got = grad(*args, "straight_through")
  expected = straight_through_gradient(embeddings, weight, labels, 16.0, 0.5)
  for a, b in zip(got, expected):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
  exact = grad(*args, "exact")
  assert np.abs(exact[0] - expected[0]).max() > 0.01 * np.abs(expected[0]).max()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_at_the_poles(loss, sign):
  # float32 brings the cosine to exactly 1, where sin has no derivative.
  weight = jnp.eye(4)
  embeddings = sign * 20 * weight[:3]
  labels = jnp.arange(3)
  assert float(margin.cosine_logits(embeddings, weight)[0, 0]) == sign
  fn = jax.jit(jax.value_and_grad(loss, (0, 1)))
  value, grads = fn(embeddings, weight, labels)
  assert np.isfinite(value)
  for g in grads:
    assert np.isfinite(g).all()
  _, zero = fn(0 * embeddings, weight, labels)
  assert np.isfinite(zero[0]).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_float32_inside(loss):
  embeddings, weight, labels = problem(5)
  half = (
    jnp.asarray(embeddings, jnp.bfloat16),
    jnp.asarray(weight, jnp.bfloat16),
  )
  got = loss(*half, labels)
  assert got.dtype == jnp.float32
  same = loss(*(x.astype(jnp.float32) for x in half), labels)
  assert float(got) == float(same)


@pytest.mark.parametrize("loss", LOSSES)
def test_unknown_labels_cost_nothing(loss):
  embeddings, weight, labels = problem(6)
  labels = labels.copy()
  labels[2], labels[5] = -1, 16
  rows = np.asarray(loss(embeddings, weight, labels, reduction="none"))
  assert rows[2] == rows[5] == 0 and (np.delete(rows, [2, 5]) > 0).all()
  fn = lambda e: loss(e, weight, labels)
  grad = np.asarray(jax.grad(fn)(jnp.asarray(embeddings)))
  assert (grad[[2, 5]] == 0).all() and (grad[0] != 0).any()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weight_spec", [P("data"), P(None, "data"), P()])
def test_sharded_equals_unsharded(loss, weight_spec):
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  embeddings, weight, labels = problem(7, batch=16, classes=24, dim=16)
  args = [jnp.asarray(x, jnp.float32) for x in (embeddings, weight)]
  labels = jnp.asarray(labels)
  put = lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec))
  fn = jax.jit(jax.value_and_grad(loss, (0, 1)))
  value, grads = fn(*args, labels)
  sharded_value, sharded_grads = fn(
    put(args[0], P("data")), put(args[1], weight_spec), put(labels, P("data"))
  )
  np.testing.assert_allclose(sharded_value, value, rtol=1e-5)
  for a, b in zip(sharded_grads, grads):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_rejects():
  args = problem()
  with pytest.raises(ValueError, match="straight_through"):
    margin.arcface_loss(*args, gradient="straight")
  with pytest.raises(ValueError, match="reduction"):
    margin.cosface_loss(*args, reduction="sum")
