"""Noise is normal, of the right size, and independent where it must be."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from scipy import stats

from jaxpriv.privacy import noise

SHAPES = {
  "a": jax.ShapeDtypeStruct((64, 256), jnp.bfloat16),
  "b": jax.ShapeDtypeStruct((64, 256), jnp.float32),
}


def test_it_is_normal_float32_and_independent():
  drawn = noise.gaussian(jax.random.key(0), SHAPES, 3.0)
  a, b = (np.asarray(drawn[name]).ravel() for name in "ab")
  assert a.dtype == b.dtype == np.float32
  for x in (a, b):
    assert stats.kstest(x / 3, "norm").pvalue > 1e-3
    assert abs(x.std() / 3 - 1) < 0.03
  later = noise.gaussian(jax.random.key(1), SHAPES, 3.0)
  for x, y in ((a, b), (a, np.asarray(later["a"]).ravel())):
    assert abs(np.corrcoef(x, y)[0, 1]) < 5 / np.sqrt(len(x))


def test_it_is_one_draw_on_any_devices(mesh):
  draw = lambda key: noise.gaussian(key, SHAPES, 1.0)
  alone = jax.jit(draw)(jax.random.key(2))
  for spec in (P(), P("data")):
    sharding = NamedSharding(mesh, spec)
    with jax.set_mesh(mesh):
      sharded = jax.jit(draw, out_shardings=sharding)(jax.random.key(2))
    for name, x in alone.items():
      np.testing.assert_allclose(sharded[name], x, atol=1e-6)
      copies = [np.asarray(s.data) for s in sharded[name].addressable_shards]
      if spec == P():
        assert all((copy == copies[0]).all() for copy in copies)
