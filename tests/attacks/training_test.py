import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxpriv.attacks import training
from jaxpriv.data.records import DataError
from jaxpriv.training import mesh as mesh_lib
from tests.training import toys


def photographs(count=16, seed=0):
  arrays = {
    "image": toys.batch(count, seed)["image"],
    "identity": np.arange(count, dtype=np.int32),
  }
  return training.InMemory(arrays, ())


def test_digest_tells_photographs_settings_and_parameters_apart():
  settings = ConfigDict(dict(steps=2, widths=(1, 2)))
  weights = {"params": {"kernel": jnp.ones((2, 2))}}
  same = training.digest(photographs(), settings, weights, None)
  assert same == training.digest(
    photographs(), ConfigDict(dict(widths=(1, 2), steps=2)), weights, None
  )
  others = [
    training.digest(photographs(seed=1), settings, weights, None),
    training.digest(
      photographs(), ConfigDict(dict(steps=3, widths=(1, 2))), weights, None
    ),
    training.digest(photographs(), settings, {"params": {}}, None),
    training.digest(photographs(), settings, None, weights),
  ]
  assert len({same, *others}) == 5


def test_attackers_of_other_photographs_are_trained_anew(tmp_path, caplog):
  options = ConfigDict(dict(batch_size=8, steps=2))
  phase, mesh = toys.phase(), mesh_lib.make_mesh(2)

  def train(made_of, key):
    with caplog.at_level("WARNING"):
      state = training.train(
        phase,
        made_of,
        options,
        seed=0,
        workdir=tmp_path,
        mesh=mesh,
        key=key,
      )
    return np.concatenate([x.ravel() for x in toys.leaves(state["params"])])

  first = train(photographs(), "a")
  # With the same key it is loaded, whatever is passed.
  np.testing.assert_array_equal(train(photographs(seed=1), "a"), first)
  other = train(photographs(seed=1), "b")
  assert np.abs(other - first).max() > 0
  assert "trained anew" in caplog.text


def test_a_batch_is_cut_to_what_devices_can_share(tmp_path):
  train = lambda count: training.train(
    toys.phase(),
    photographs(count),
    ConfigDict(dict(batch_size=64, steps=1)),
    seed=0,
    workdir=tmp_path,
    mesh=mesh_lib.make_mesh(8),
  )
  with pytest.raises(DataError, match="7 photographs .* on 8 devices"):
    train(7)
  assert jax.tree.leaves(train(9))


def test_scenes_are_gathered_whoever_is_in_them():
  """Of single faces those of nobody known are left out, and padding of all."""
  padding = np.array([False, False, True])
  faces = {"identity": np.array([3, -1, 4]), "padding": padding}
  kept = training.collect([faces], (), 3)
  assert kept.arrays["identity"].tolist() == [3]
  scenes = {
    "identity": np.array([[3, -1], [-1, -1], [4, 5]]),
    "padding": padding,
  }
  kept = training.collect([scenes], (), 3)
  assert kept.arrays["identity"].tolist() == [[3, -1], [-1, -1]]
