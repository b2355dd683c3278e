import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.ndimage import maximum_filter

from jaxpriv.models import repair
from jaxpriv.models.repair import GatedConv, RepairNet

SMALL = dict(widths=(8, 8), dilations=(2,))


def images(rows=2, height=12, width=12, seed=0):
  rng = np.random.default_rng(seed)
  return rng.random((rows, height, width, 3)).astype(np.float32)


def hole(shown, size=6):
  keep = np.ones(shown.shape[:3], bool)
  keep[:, 3 : 3 + size, 3 : 3 + size] = False
  return keep


def test_a_gate_of_nothing_lets_half_pass():
  x = jnp.asarray(images())
  layer = GatedConv(4, stride=2)
  variables = layer.init(jax.random.key(0), x, False)
  kernel = np.asarray(variables["params"]["Conv_0"]["kernel"]).copy()
  assert kernel.shape == (3, 3, 3, 8)
  kernel[..., 4:] = 0
  variables = {"params": {"Conv_0": {"kernel": kernel, "bias": np.zeros(8)}}}
  got = layer.apply(variables, x, False)
  plain = jax.lax.conv_general_dilated(
    x,
    kernel[..., :4],
    (2, 2),
    ((1, 1), (1, 1)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  np.testing.assert_allclose(got, jax.nn.elu(plain) / 2, atol=1e-5)


@pytest.mark.parametrize("norm", ["", "group"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_kept_pixels_stay_and_all_others_change(norm, rounds):
  x = images(height=13, width=10)  # no multiple of the strides
  keep = hole(x, 4)
  model = RepairNet(**SMALL, rounds=rounds, growth=1, norm=norm)
  variables = model.init(jax.random.key(0), x, train=False)
  got = np.asarray(model.apply(variables, x, keep, train=True))
  assert got.shape == x.shape and got.dtype == np.float32
  np.testing.assert_array_equal(got[keep], x[keep])
  assert (got[~keep] != x[~keep]).mean() > 0.9
  free = np.asarray(model.apply(variables, x, train=True))
  assert (free != x).mean() > 0.9
  # Rounds share their parameters.
  once = RepairNet(**SMALL, norm=norm).init(jax.random.key(0), x, train=False)
  shapes = lambda tree: jax.tree.map(jnp.shape, tree)
  assert shapes(variables) == shapes(once)


def test_a_round_goes_on_from_the_one_before(monkeypatch):
  """It is given what was repaired, where that is near to what was known."""
  x, keep = images(), hole(images())
  model = RepairNet(**SMALL, rounds=2, growth=2)
  variables = model.init(jax.random.key(0), x, train=False)
  seen = []
  once = repair._UNet.__call__

  def spy(self, shown, known, train):
    result = once(self, shown, known, train)
    seen.append((np.asarray(shown), np.asarray(known)[..., 0], result))
    return result

  monkeypatch.setattr(repair._UNet, "__call__", spy)
  model.apply(variables, x, keep, train=False)
  (shown, known, first), (again, grown, _) = seen
  np.testing.assert_array_equal(shown, x)
  np.testing.assert_array_equal(known, keep)
  expected = maximum_filter(keep, (1, 5, 5))
  np.testing.assert_array_equal(grown, expected)
  rim = expected & ~keep
  assert rim.any() and not expected.all()
  np.testing.assert_allclose(again, np.where(rim[..., None], first, x))


def test_it_learns_to_fill_a_hole():
  """Images have one colour each, which the rim of the hole tells."""
  rng = np.random.default_rng(0)
  model = RepairNet(**SMALL)
  colours = rng.random((32, 1, 1, 3)).astype(np.float32)
  x = np.broadcast_to(colours, (32, 12, 12, 3))
  keep = hole(x)
  shown = x * keep[..., None]
  params = model.init(jax.random.key(0), shown, train=False)
  optimizer = optax.adam(1e-2)
  state = optimizer.init(params)

  def loss(params):
    error = jnp.abs(model.apply(params, shown, keep, train=True) - x)
    return error.sum() / (~keep).sum() / 3

  @jax.jit
  def step(params, state):
    value, gradient = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state, value

  for _ in range(60):
    params, state, value = step(params, state)
  assert value < 0.08 < np.abs(shown - x).sum() / (~keep).sum() / 3


def test_half_precision_gives_images_in_full():
  x = images()
  model = RepairNet(**SMALL, dtype=jnp.bfloat16)
  init = lambda x: model.init_with_output(jax.random.key(0), x, train=False)
  got, variables = jax.eval_shape(init, x)
  assert got.dtype == jnp.float32
  assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(variables))
