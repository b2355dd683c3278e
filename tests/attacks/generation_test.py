"""Made images beside real ones: by hand, of good and of bad generators."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import face_source as face_source_config
from configs import face_synthesis as face_synthesis_config
from jaxpriv.attacks import generation
from jaxpriv.attacks.threat import People, Reader
from jaxpriv.data.memory import InMemory
from jaxpriv.data.records import DataError
from jaxpriv.metrics import finding
from jaxpriv.metrics import generation as metrics
from jaxpriv.metrics.identification import directions
from jaxpriv.training.mechanism import Target, Trained
from jaxpriv.training.method import Outputs, Phase, untrained
from tests import tiny

SIDE, EACH = 4, 4


def flat(shown):
  rows = shown.arrays["image"].reshape(len(shown), -1).astype(np.float32)
  return rows - 128


def photographs(people=120, seed=0, first=0):
  """Blocks of four colours, of everybody's own, with noise."""
  rng = np.random.default_rng(seed)
  identities = np.repeat(np.arange(people), EACH)
  colours = rng.integers(30, 226, (people, 2, 2, 3))[identities]
  pixels = colours.repeat(2, 1).repeat(2, 2)
  pixels = pixels + rng.integers(-9, 10, (len(identities), SIDE, SIDE, 3))
  arrays = {
    "image": pixels.astype(np.uint8),
    "identity": identities + first,
    "domain": np.zeros(len(identities), np.int32),
  }
  return InMemory(arrays, ())


def people_of(test, mesh=None):
  made = People(tiny.face_synthesis(), "", mesh, test, test)
  made.once("recogniser", lambda: (Reader("eyes", flat), None))
  return made


def targeted(products, **outputs):
  phase = Phase("made", (), untrained(Outputs(**outputs)))
  return Target("m", None, Trained((phase,), {"made": {}}), products)


def released(made, images, **options):
  """Findings by metric, of a mechanism that releases these images."""
  made.image = lambda target, shown: shown.replace(image=images)
  rows = list(generation.attack(targeted(("image",)), made, **options))
  assert all(finding.problems(row) is None for row in rows)
  assert len({row.metric for row in rows}) == len(rows)
  return {row.metric: row for row in rows}


def test_releases_like_others_are_real_and_hide_who_it_is():
  made = people_of(photographs())
  others = photographs(seed=1).arrays["image"]
  rows = released(made, others)
  assert set(rows) == {*generation.CLAIMS, "identity AUC"}
  kernel = rows["kernel distance"]
  assert kernel.low < 0 < kernel.high and 3 * kernel.value < kernel.floor
  assert kernel.where["floor of"] == "noise" and kernel.where["images"] == 60
  assert finding.judge(rows["precision"]).level != finding.BAD
  assert rows["precision"].ceiling.value > 0.5
  apart = rows["Frechet distance"]
  assert apart.wanted == finding.TOLD and math.isinf(apart.high)
  # The least that is to be written as JSON: a ceiling has finite ends.
  assert 0 < apart.ceiling.low == apart.ceiling.high < apart.floor
  leak = rows["identity AUC"]
  assert leak.wanted == finding.HIDDEN and leak.claim == "identity"
  assert 0.35 < leak.value < 0.65 and leak.floor == 0.5
  assert leak.ceiling.value > 0.95 and leak.total == 480


def test_photographs_as_they_are_give_everybody_away():
  made = people_of(photographs())
  rows = released(made, made.test.arrays["image"])
  assert rows["identity AUC"].value > 0.99
  assert finding.judge(rows["identity AUC"]).level == finding.BAD


def test_one_image_again_and_again_has_no_variety():
  made = people_of(photographs())
  one = np.broadcast_to(
    made.test.arrays["image"][:1], made.test.arrays["image"].shape
  )
  rows = released(made, one)
  assert rows["recall"].value < 0.05 < 0.3 < rows["recall"].ceiling.value
  assert finding.judge(rows["recall"]).level == finding.BAD
  assert rows["kernel distance"].value > 3 * rows["kernel distance"].floor / 4
  assert rows["identity AUC"].value == pytest.approx(0.5, abs=0.02)


def test_figures_are_those_of_as_many_photographs_of_half_of_the_people():
  made = people_of(photographs())
  sides = generation._sides(targeted(("image",)), _with(made), "", 3, 20)
  both = np.concatenate([sides.real.identities, sides.other.identities])
  assert len(set(both)) == 40 and len(set(sides.sources.identities)) == 20
  assert {len(s) for s in (*sides[:3], *sides[4:])} == {20}
  # A release stands beside its photograph.
  np.testing.assert_array_equal(
    sides.made.arrays["image"], 255 - sides.sources.arrays["image"]
  )
  # Noise has at each place the values of photographs, dealt anew.
  noise, pixels = sides.worst.arrays["image"], sides.other.arrays["image"]
  np.testing.assert_array_equal(np.sort(noise, 0), np.sort(pixels, 0))
  assert (noise != pixels).mean() > 0.8
  rows = {
    r.metric: r
    for r in generation._beside(
      targeted(("image",)), Reader("eyes", flat), sides, 3
    )
  }
  unit = lambda s: directions(flat(s))[0] * math.sqrt(SIDE * SIDE * 3)
  expected = metrics.kernel_distance(
    unit(sides.real),
    unit(sides.made),
    sides.real.identities,
    sides.sources.identities,
  )
  got = rows["kernel distance"]
  assert (got.value, got.low, got.high) == pytest.approx(expected[:3])
  frechet = metrics.frechet_distance(unit(sides.real), unit(sides.worst))
  assert rows["Frechet distance"].floor == pytest.approx(frechet)
  near = metrics.precision_recall(unit(sides.real), unit(sides.other), 3)
  assert rows["recall"].ceiling.value == near.recall.rate


def _with(made):
  made.image = lambda target, shown: shown.replace(
    image=255 - shown.arrays["image"]
  )
  return made


def test_a_model_that_draws_is_compared_and_its_outputs_are_various(mesh):
  """Its images depend on the number of a row alone."""

  def drawn(state, frozen, batch):
    draw = lambda row: jax.random.uniform(
      jax.random.fold_in(jax.random.key(0), row // 5), (2, 2, 3)
    )
    return jax.vmap(draw)(batch["index"]).repeat(2, 1).repeat(2, 2)

  made = people_of(photographs(), mesh)
  target = targeted(("model",), drawn=drawn)
  rows = {r.metric: r for r in generation.attack(target, made, outputs=5)}
  assert "identity AUC" not in rows
  # Five rows in turn are one image, and so are the outputs of a source.
  assert rows["diversity"].value == pytest.approx(0, abs=1e-9)
  assert rows["diversity"].ceiling.value > 0.5
  assert rows["diversity"].where["outputs"] == 5
  twice = {r.metric: r for r in generation.attack(target, made, outputs=10)}
  # Half of the pairs of ten outputs but the pairs of one image: 25 of 45.
  assert 0.3 < twice["diversity"].value < 0.9
  assert twice["diversity"].total == 60
  few = generation.attack(target, made, outputs=10, most=40)
  assert {r.metric: r.total for r in few}["diversity"] == 4


def test_where_another_domain_is_wanted_photographs_are_the_floor(monkeypatch):
  made = people_of(photographs())
  cats = photographs(seed=1, first=100)
  cats = cats.replace(
    image=cats.arrays["image"] // 2 + 100,
    domain=np.ones(len(cats), np.int32),
  )
  both = {
    name: np.concatenate([made.test.arrays[name], cats.arrays[name]])
    for name in cats.arrays
  }
  made.data = ()
  made.once("everybody tested", lambda: InMemory(both, ()))
  new = photographs(seed=2).arrays["image"] // 2 + 100
  rows = released(made, new, domain="cat")
  kernel = rows["kernel distance"]
  assert kernel.where["floor of"] == "the photographs"
  assert kernel.high < kernel.floor
  same = released(made, made.test.arrays["image"], domain="cat")
  assert finding.judge(same["kernel distance"]).level == finding.BAD
  with pytest.raises(DataError, match="0 photographs of domain dog, of 0"):
    released(made, new, domain="dog")


def test_too_few_photographs_are_refused():
  made = people_of(photographs(people=7))
  with pytest.raises(DataError, match="28 photographs, of 7 people.*split"):
    released(made, made.test.arrays["image"])
  made = people_of(photographs(people=16))
  with pytest.raises(DataError, match="by 8 neighbours"):
    released(made, made.test.arrays["image"], neighbours=8)


def test_images_of_which_nothing_is_said_are_counted_and_left_out():
  made = people_of(photographs())
  images = photographs(seed=1).arrays["image"].copy()
  images[:8] = 128  # embeddings of zeros
  rows = released(made, images)
  leak = rows["identity AUC"]
  assert (leak.where["invalid"], leak.total) == (8, 472)
  images[:] = 128
  assert released(made, images) == {}


def test_a_model_that_draws_nothing_and_releases_no_images_is_passed_by():
  made = people_of(photographs())
  target = targeted(("model",), logits=lambda s, f, b: jnp.zeros(3))
  assert not list(generation.attack(target, made))


def test_configs_ask_for_the_domain_that_is_released():
  config = face_synthesis_config.get_config("demo")
  config.model.target = "dog"
  assert config.attacks.generation.domain == "dog"
  assert face_source_config.get_config("demo").attacks.generation.domain == ""


def test_the_ceiling_of_leakage_is_of_other_photographs_of_a_person():
  """Two are unrelated, so that they give nobody away; a third is alone."""
  rng = np.random.default_rng(0)
  rows, valid = rng.normal(size=(300, 40)), np.ones(300, bool)
  people = np.append(rng.permutation(np.arange(200) % 100), np.arange(100, 200))
  found = generation._of_others(generation._Read(rows, people, valid))
  assert 0.4 < found.value < 0.6
  alone = generation._Read(rows[:20], np.arange(20), valid[:20])
  assert generation._of_others(alone) is None
