"""Whether releases show a domain and keep the pose: by hand, and trained."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.attacks import domains, gathering
from jaxpriv.attacks.threat import People
from jaxpriv.data import dataset
from jaxpriv.data.memory import InMemory
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.records import DataError
from jaxpriv.metrics import finding
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.mechanism import Target
from tests import tiny

SIDE = tiny.SIDE
TARGET = Target("m", None, None, ("image",))


def faces(domain="human,cat", people=24, photographs=2):
  source = ProceduralFaces(people, photographs, SIDE, domain=domain)
  shares = dict(train=0.5, attack=0.25, test=0.25)
  return dataset.split_data(source, shares, 0)


def people(data, workdir=""):
  config = tiny.face_synthesis()
  config.evaluation.recogniser.update(depths=(1, 1, 2), width=12, features=32)
  config.evaluation.phases.domains.update(
    steps=150, batch_size=32, learning_rate=1e-2
  )
  options = config.evaluation
  known, test = (
    gathering._people(of(options, data))
    for of in (gathering.of_attackers, gathering.of_test)
  )
  return People(config, workdir, mesh_lib.make_mesh(), known, test, data)


def test_people_alone_are_attacked_where_there_are_some():
  made = people(faces())
  for photographs in made.known, made.test:
    assert set(photographs.arrays["domain"].tolist()) == {0}
    assert len(photographs)
  cats = gathering.of_test(made.options, faces("cat"))
  assert len(gathering._people(cats)) == len(cats)
  mixed = gathering.of_test(made.options, faces())
  assert 0 < len(gathering._people(mixed)) < len(mixed)


def stub(made, answers, points):
  """A reader that says what is written in the first pixel of each image."""

  def read(photographs):
    rows = photographs.arrays["image"][:, 0, 0, 0]
    return np.array([answers[r] for r in rows]), points[: len(rows)]

  made.once("domains read", lambda: read)


def test_figures_are_those_counted_by_hand(monkeypatch):
  made = people(faces(people=48))
  count = len(made.test)
  landmarks = made.test.arrays["landmarks"].copy()
  landmarks[:, :5] = 10.0
  landmarks[0, 0] = np.nan  # one point of the first face is unknown
  box = np.tile(np.array([0, 0, 16, 4], np.float32), (count, 1))  # side 8
  fixed = np.zeros_like(made.test.arrays["image"])
  made.test = made.test.replace(landmarks=landmarks, box=box, image=fixed)
  released = fixed.copy()
  released[: count // 2, 0, 0, 0] = 1
  monkeypatch.setattr(
    made, "image", lambda target, shown: shown.replace(image=released)
  )
  attackers = gathering.of_attackers(made.options, made.data)
  seen = attackers.arrays["landmarks"].copy()
  seen[1, 2] = np.nan
  made.once("everybody known", lambda: attackers.replace(landmarks=seen))
  tested = gathering.of_test(made.options, made.data)
  ones = np.ones_like(tested.arrays["image"])
  made.once("everybody tested", lambda: tested.replace(image=ones))
  points = np.full((len(tested), 5, 2), 10.0)
  points[:, :, 0] += 4.0  # half a side of the box away
  stub(made, {0: 0, 1: 1}, points)
  named, kept, about = domains.attack(TARGET, made, "cat")
  assert (named.claim, named.wanted) == ("domain cat", finding.KEPT)
  assert named.hits == count // 2 and named.total == count
  assert named.floor == 0 and named.ceiling.value == 1
  assert kept.claim == "landmarks" and kept.wanted == finding.KEPT
  assert kept.value == pytest.approx(0.5)
  assert kept.ceiling.value == pytest.approx(0.5)
  known, there = domains._points(made.once("everybody known", None))
  guess = np.stack([known[:, i][there[:, i]].mean(0) for i in range(5)])
  apart = np.linalg.norm(guess - 10.0, axis=1) / 8
  rows = [np.mean(apart[1:])] + [np.mean(apart)] * (count - 1)
  assert kept.floor == pytest.approx(np.mean(rows), rel=1e-6)
  # From the means of their domains: 4 px more, and what these are apart.
  assert about.where["about"] == "the mean of the domain"
  everybody = made.once("everybody known", None)
  of = everybody.arrays["domain"]
  means = [
    np.stack([known[of == d, i][there[of == d, i]].mean(0) for i in range(5)])
    for d in (0, 1)
  ]
  apart = np.linalg.norm(means[0] - means[1] + [4.0, 0], axis=1) / 8
  rows = [np.mean(apart[1:])] + [np.mean(apart)] * (count - 1)
  assert about.value == pytest.approx(np.mean(rows), rel=1e-6)
  apart = np.linalg.norm(means[0] - 10.0, axis=1) / 8
  rows = [np.mean(apart[1:])] + [np.mean(apart)] * (count - 1)
  assert about.floor == pytest.approx(np.mean(rows), rel=1e-6)
  assert about.ceiling.value == pytest.approx(0.5)


def test_where_a_domain_has_no_points_its_mean_is_not_known():
  """As animals have none, where nobody looked for any."""
  made = people(faces(people=48))
  attackers = gathering.of_attackers(made.options, made.data)
  points = attackers.arrays["landmarks"].copy()
  points[attackers.arrays["domain"] == 1] = np.nan
  made.once("everybody known", lambda: attackers.replace(landmarks=points))
  made.once(("image", id(made.test)), lambda: (made.test, made.test), "m")
  count = len(gathering.of_test(made.options, made.data))
  read = lambda shown: (np.zeros(len(shown)), np.zeros((len(shown), 5, 2)))
  made.once("domains read", lambda: read)
  got = list(domains.attack(TARGET, made, "cat"))
  assert count and [f.where.get("about") for f in got] == [None, "the image"]


def test_it_needs_photographs_of_the_domain():
  with pytest.raises(
    DataError, match="domain = dog, and the photographs of the"
  ):
    next(domains.attack(TARGET, people(faces()), "dog"))


def test_a_reader_learns_to_tell_domains_and_to_find_points(tmp_path):
  """Undisguised photographs are read as of people, and real cats as cats."""
  made = people(faces(people=240, photographs=3), tmp_path)
  made.once(("image", id(made.test)), lambda: (made.test, made.test), "m")
  named, kept, _ = domains.attack(TARGET, made, "cat")
  assert named.value == named.floor < 0.1
  assert named.ceiling.value > 0.9
  assert kept.value == kept.ceiling.value < 0.8 * kept.floor
  assert jnp.isfinite(kept.floor)


def test_boxes_without_area_count_as_the_image():
  boxes = np.array([[0, 0, 4, 9], [3, 3, 3, 3]], np.float32)
  image = np.zeros((2, 8, 8, 3), np.uint8)
  shown = InMemory({"box": boxes, "image": image, "identity": np.arange(2)}, ())
  np.testing.assert_array_equal(domains._areas(shown), [36, 64])
