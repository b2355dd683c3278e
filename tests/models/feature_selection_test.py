"""Shapes and parameter counts of the paper at 224 pixels."""

import jax
import jax.numpy as jnp

from jaxpriv.models.feature_selection import FeatureSelectionNetwork


def test_network_at_224():
  model = FeatureSelectionNetwork(attributes=4)
  x = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
  key = jax.random.key(0)
  variables = jax.eval_shape(lambda x: model.init(key, x, train=False), x)
  d = jax.eval_shape(
    lambda v, x: model.apply(v, x, method="trunk"), variables, x
  )
  assert d.shape == (2, 14, 14, 512)
  logits = jax.eval_shape(
    lambda v, x: model.apply(v, x, train=False), variables, x
  )
  assert logits.shape == (2, 4, 2) and logits.dtype == jnp.float32
  size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
  params = variables["params"]
  groups = {k: size(v) for k, v in params.items() if k.startswith("groups")}
  dense = lambda a, b: a * b + b
  group = dense(14 * 14 * 512, 512) + dense(512, 512) + dense(512, 2)
  assert group == 51_644_418
  assert list(groups.values()) == [group] * 4
  widths = (3, 64, 128, 256, 512, 512, 512)
  trunk = sum(9 * a * b + 2 * b for a, b in zip(widths, widths[1:]))
  assert trunk == 6_272_576
  assert size(params) - sum(groups.values()) == trunk


def test_groups_read_one_map_and_differ():
  model = FeatureSelectionNetwork(
    attributes=3, widths=(4,) * 6, group_units=(8, 8)
  )
  x = jax.random.uniform(jax.random.key(0), (2, 32, 32, 3))
  variables = model.init(jax.random.key(1), x, train=False)
  d = model.apply(variables, x, method="trunk")
  logits = model.apply(variables, x, train=False)
  again = model.apply(variables, d, method="classify")
  assert jnp.allclose(logits, again, atol=1e-6)
  assert not jnp.allclose(logits[:, 0], logits[:, 1])
