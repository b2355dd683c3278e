import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.models.face_generator import FaceGenerator


def test_shapes_and_inputs():
  network = FaceGenerator(24, widths=(8, 8, 4), units=8)
  code, attributes = jnp.eye(3, 5), jnp.array([[1.0, -1], [0, 0], [-1, 1]])
  state = network.init(jax.random.key(0), code, attributes, train=False)
  images = network.apply(state, code, attributes, train=False)
  assert images.shape == (3, 24, 24, 3) and images.dtype == jnp.float32
  assert (images > 0).all() and (images < 1).all()
  other = network.apply(state, code, -attributes, train=False)
  assert np.abs(other - images)[[0, 2]].max() > 1e-6
  np.testing.assert_array_equal(other[1], images[1])
  # Rows do not see each other.
  alone = network.apply(state, code[:1], attributes[:1], train=True)
  np.testing.assert_allclose(alone, images[:1], atol=1e-5)


def test_without_attributes():
  network = FaceGenerator(8, widths=(4,), units=4)
  code, none = jnp.eye(2), jnp.zeros((2, 0))
  state = network.init(jax.random.key(0), code, none, train=False)
  assert "attributes" not in state["params"]
  assert network.apply(state, code, none, train=False).shape == (2, 8, 8, 3)


def test_a_side_that_cannot_be_doubled_up_to():
  with pytest.raises(ValueError, match="a multiple of 8"):
    FaceGenerator(20, widths=(4, 4, 4)).init(
      jax.random.key(0), jnp.eye(2), jnp.zeros((2, 0)), train=False
    )
