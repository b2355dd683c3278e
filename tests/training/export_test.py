"""A model written is the model read, whoever reads it."""

import jax.numpy as jnp
import numpy as np

from jaxpriv.training import export


def test_what_predicts_is_written(tmp_path):
  states = {
    "a": {
      "params": {"x": {"kernel": jnp.arange(6.0).reshape(2, 3)}},
      "ema": {"x": {"kernel": jnp.arange(6.0).reshape(2, 3) + 0.5}},
      "batch_stats": {},
      "privacy": {"steps": jnp.int32(3)},
    },
    "b": {
      "params": {"w": jnp.ones(2)},
      "batch_stats": {"n": {"mean": jnp.zeros(2)}},
    },
  }
  states["mask"] = {"keep": jnp.eye(2, dtype=bool), "number": jnp.int32(7)}
  path = tmp_path / "parameters.npz"
  written = export.write(path, states)
  assert list(tmp_path.iterdir()) == [path]
  with np.load(path) as alone:
    assert set(alone.files) == set(written) == {
      "a/params/x/kernel", "b/params/w", "b/batch_stats/n/mean",
      "mask/keep", "mask/number",
    }  # fmt: skip
    np.testing.assert_array_equal(
      alone["a/params/x/kernel"], states["a"]["ema"]["x"]["kernel"]
    )
  read = export.read(path)
  assert read["a"]["batch_stats"] == {}
  assert read["mask"]["number"] == 7
  np.testing.assert_array_equal(read["b"]["batch_stats"]["n"]["mean"], [0, 0])
