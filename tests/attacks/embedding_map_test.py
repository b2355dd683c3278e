"""Least squares against their formula; who is linked where releases leak."""

import numpy as np
import pytest

from jaxpriv.attacks import embedding_map
from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data.memory import InMemory
from jaxpriv.metrics import finding
from jaxpriv.training.mechanism import Target
from tests import tiny

SIDE, SHOTS = 8, 4


def photographs(people, seed):
  """Photographs that differ by person, and a little from each other."""
  rng = np.random.default_rng(seed)
  faces = rng.integers(60, 196, (people, 1, SIDE, SIDE, 3))
  noise = rng.integers(-20, 21, (people, SHOTS, SIDE, SIDE, 3))
  image = (faces + noise).reshape(-1, SIDE, SIDE, 3).astype(np.uint8)
  identity = np.repeat(np.arange(people), SHOTS).astype(np.int32)
  return InMemory({"image": image, "identity": identity}, ())


@pytest.mark.parametrize("pairs", [20, 300])
def test_the_map_is_that_of_the_normal_equations(pairs):
  """With fewer and with more pairs than pixels."""
  rng = np.random.default_rng(pairs)
  released = rng.integers(0, 256, (pairs, 4, 4, 3), np.uint8)
  wanted = embedding_map.unit(rng.normal(size=(pairs, 5)))
  got = embedding_map.ridge(
    released,
    wanted,
    np.arange(pairs) // 2,
    embedding_map.inner_products(released),
  )
  x = released.reshape(pairs, -1) / 255.0
  centred = x - x.mean(0)
  errors = []
  for penalty in embedding_map.PENALTIES:
    scale = penalty * (centred**2).sum() / pairs
    weight = np.linalg.solve(
      centred.T @ centred + scale * np.eye(48), centred.T @ wanted
    )
    errors.append(np.abs(centred @ (got.weight - weight)).max())
  assert min(errors) < 1e-5 < sorted(errors)[2]
  expected = centred @ got.weight + wanted.mean(0)
  np.testing.assert_allclose(got(released), expected, atol=1e-4)


def world(mesh, workdir, protect):
  """A target whose images are `protect` of the photographs'."""
  config = tiny.embedded_autoencoder()
  config.evaluation.phases.map.update(
    steps=300, batch_size=16, learning_rate=3e-3
  )
  known, test = photographs(60, 0), photographs(12, 1)
  people = People(config, workdir, mesh, known, test)
  mixing = np.random.default_rng(2).normal(size=(SIDE * SIDE * 3, 32))

  def embed(shown):
    flat = shown.arrays["image"].reshape(len(shown), -1) / 255.0
    return ((flat - 0.5) @ mixing).astype(np.float32)

  people.once("recogniser", lambda: (Reader("public", embed), None))
  people.image = lambda target, shown: shown.replace(
    image=protect(shown.arrays["image"])
  )
  return Target("m", config, None, ("image",)), people


def test_people_are_linked_where_the_release_is_a_linear_code(mesh, tmp_path):
  """No recogniser finds anybody in pixels that have changed places."""
  places = np.random.default_rng(3).permutation(SIDE * SIDE * 3)

  def shuffled(image):
    return image.reshape(len(image), -1)[:, places].reshape(image.shape)

  target, people = world(mesh, tmp_path, shuffled)
  rows = list(embedding_map.attack(target, people, pairs=(16, 240), network=64))
  keys = [(row.by, row.where["pairs"]) for row in rows]
  assert len(set(keys)) == 9  # two numbers and a network, three attacks
  assert len([key for key in keys if key[1] == 16]) == 3
  for row in rows:
    assert row.wanted == finding.HIDDEN
    assert row.ceiling.value > 0.9 and row.where["recogniser"] == "public"
  value = {
    (row.by, row.where["pairs"]): row.value
    for row in rows
    if row.metric == "rank-1" and row.where["gallery"] == "other photograph"
  }
  for name in ("naive", "reverse", "parrot"):
    assert value[f"embedding map, ridge, {name}", 240] > 0.9
    assert value[f"embedding map, network, {name}", 240] > 0.25
  few = value["embedding map, ridge, naive", 16]
  assert few < value["embedding map, ridge, naive", 240]


def test_nobody_is_linked_where_all_look_alike(mesh, tmp_path):
  target, people = world(mesh, tmp_path, lambda image: 0 * image + 7)
  rows = list(embedding_map.attack(target, people, pairs=(240,), network=0))
  assert all(row.low <= row.floor for row in rows)


def test_features_are_linked_by_pairs_of_another_secret(mesh, tmp_path):
  """Features whose channels change places with the secret, at every cell."""
  target, people = world(mesh, tmp_path, lambda image: image)
  again = object()

  def released(scene, photographs, name):
    places = [1, 2, 0] if scene.target.trained is again else [0, 1, 2]
    return (photographs.arrays["image"] / 255)[..., places].astype(np.float16)

  target = target._replace(products=("features",), again=again)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(embedding_map.Scene, "released", released)
    rows = list(embedding_map.attack(target, people, pairs=(240,), network=0))
  value = {
    (row.by.split()[-1], row.where.get("pairs_of", "")): row.value
    for row in rows
    if row.metric == "rank-1" and row.where["gallery"] == "other photograph"
  }
  assert len(value) == 6
  assert value["naive", ""] > 0.9 > value["naive", "another secret"]
  # Wrong for every photograph alike: releases are linked with each other.
  assert value["parrot", "another secret"] > 0.9


def test_a_network_that_says_nothing_goes_on_learning(mesh, tmp_path):
  """Black images leave every unit at zero, and so the whole output."""
  target, people = world(mesh, tmp_path, lambda image: 0 * image)
  people.config.evaluation.phases.map.steps = 2
  rows = list(embedding_map.attack(target, people, pairs=(240,), network=2))
  assert any("network" in row.by for row in rows)


def test_large_images_are_means_of_blocks():
  images = np.random.default_rng(0).integers(0, 256, (3, 130, 130, 3))
  images = images.astype(np.uint8)
  got = embedding_map.small(images)
  assert got.shape == (3, 43, 43, 3)
  expected = images[1, 3:6, 6:9, 2].mean()
  assert got[1, 1, 2, 2] == pytest.approx(expected, abs=0.5)
  assert embedding_map.small(images[:, :64, :64]).shape == (3, 64, 64, 3)
  features = np.random.default_rng(1).normal(size=(2, 14, 14, 256))
  got = embedding_map.small(features.astype(np.float16))
  assert got.shape == (2, 4, 4, 256) and got.dtype == np.float16
  expected = features[1, 3:6, 6:9, 7].mean()
  assert got[1, 1, 2, 7] == pytest.approx(expected, abs=2e-3)
