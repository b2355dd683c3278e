"""Whole photographs: what is pasted is what is read, by stand-in networks."""

import types

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import face_replacement as face_replacement_config
from jaxpriv.attacks import gathering, whole_photographs
from jaxpriv.attacks.threat import People
from jaxpriv.data import dataset, pretrained, sources
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.metrics import finding
from jaxpriv.models.pretrained.catalogue import NETWORKS
from jaxpriv.training import detection, witnesses
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.mechanism import Target, Trained
from jaxpriv.training.method import Outputs, Phase, untrained
from tools import faces_folder

SIDE = 32
POINTS = np.random.default_rng(0).random((68, 2)) * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp("people")
  faces_folder.write_faces(path, ProceduralFaces(8, 2, 64, 5))
  return path


def config_of(folder) -> ConfigDict:
  config = face_replacement_config.get_config("demo")
  with config.unlocked():
    config.data.update(source="folder", path=str(folder), image_size=SIDE,
                       face_threshold=0.0, copies="keep")  # fmt: skip
    config.evaluation.witnesses = ("faceres",)
  return config


def people_of(config):
  source = sources.open_source(config.data)
  shares = dict(train=0.25, attack=0.25, test=0.5)
  data = dataset.split_data(source, shares, 0)
  options = config.evaluation
  known, test = (
    of(options, data) for of in (gathering.of_attackers, gathering.of_test)
  )
  return People(config, "", mesh_lib.make_mesh(1), known, test, data)


def target_of(config, change):
  image = lambda state, frozen, batch: change(batch["image"])
  phase = Phase("p", (), untrained(Outputs(image=image)))
  trained = Trained((phase,), {"p": {}})
  return Target("m", config, trained, ("image",))


def find(detector, marker, pictures, threshold=0.5):
  """Faces where there is detail in the middle of a photograph."""
  found = []
  for picture in pictures:
    pixels = np.asarray(picture, float)
    there = pixels[20:44, 20:44].std() > 12
    rows = slice(0, 1 if there else 0)
    box = np.array([[8.0, 8, 56, 56]])[rows]
    points = (POINTS + pixels.mean() / 255)[None][rows]
    found.append(detection.Faces(box, np.ones(1)[rows], points))
  return found


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
  monkeypatch.setattr(pretrained, "missing", lambda names: ())
  monkeypatch.setattr(
    witnesses,
    "load",
    lambda name: types.SimpleNamespace(name=name, frame=NETWORKS[name].frame),
  )
  pooled = lambda network, faces: (
    faces.reshape(len(faces), 16, 14, 16, 14, 3)
    .mean((2, 4))
    .reshape(len(faces), -1)
    - 127
  )

  middle = []

  def read(network, faces):
    """Bright faces are old and male, and smile where they are red."""
    bright = faces.mean((1, 2, 3))
    middle.append((bright.min() + bright.max()) / 2)
    if network.name == "expressions":
      red = faces[..., 0].mean((1, 2)) > 1.1 * bright
      return {"expressions": np.eye(7)[red.astype(int)]}
    return {"age": bright / 2, "male": 0.5 + (bright - middle[0]) / 255}

  monkeypatch.setattr(witnesses, "embed", pooled)
  monkeypatch.setattr(witnesses, "read", read)
  monkeypatch.setattr(detection, "find", find)


def findings(target, people, **options):
  made = list(whole_photographs.attack(target, people, **options))
  assert all(f.where["shown"] == "whole photograph" for f in made)
  for one in made:
    assert finding.problems(one) is None
  return made


def test_what_is_not_changed_is_found_as_it_was(folder):
  config = config_of(folder)
  config.data.align = "landmarks"  # heads lose pixels on their way
  made = findings(target_of(config, lambda image: image), people_of(config))
  share = {f.metric: f for f in made if f.claim == "detection"}
  assert share["found"].value == share["same count"].value == 1
  assert share["found"].total == 8
  (moved,) = [f for f in made if f.claim == "landmarks"]
  assert moved.value < 1e-3
  (same,) = [
    f for f in made
    if f.subject == "m" and f.by == "naive"
    and f.where["gallery"] == "same photograph"
  ]  # fmt: skip
  assert same.value == 1 and same.floor == 0.25
  assert [f for f in made if f.subject == finding.NOBODY]


def test_what_the_new_face_has_of_the_old_one_is_told(folder):
  config = config_of(folder)
  config.data.align = "landmarks"
  people = people_of(config)
  of = lambda made: {f.claim: f for f in made if f.wanted == finding.TOLD}
  same = of(findings(target_of(config, lambda image: image), people))
  assert same["gender"].value == same["expression"].value == 1
  assert same["age"].value < 0.5 and same["pose"].value < 0.1
  assert 0.5 <= same["gender"].floor < 1 and same["gender"].total == 8
  people = people_of(config)
  black = lambda image: 0.1 * image * jnp.array([0.0, 0.0, 1.0])
  other = of(findings(target_of(config, black), people))
  assert other["age"].value > same["age"].value + 10
  assert other["gender"].value < 1


def test_a_map_that_is_learned_finds_negatives(folder, monkeypatch):
  """Of a negative a recogniser says the contrary, which a map turns round."""
  config = config_of(folder)
  config.data.align = "landmarks"
  negative = target_of(config, lambda image: 1 - image)
  monkeypatch.setattr(whole_photographs, "_PEOPLE", 4)
  made = findings(negative, people_of(config))
  rate = {
    f.by: f
    for f in made
    if f.subject == "m" and f.where.get("gallery") == "same photograph"
  }
  plain, mapped = rate["naive"], rate["embedding map, ridge, naive"]
  assert mapped.value > max(plain.value, 0.8) and plain.value < 0.5
  assert mapped.where["pairs"] == 8 and "pairs" not in plain.where
  monkeypatch.setattr(whole_photographs, "_PEOPLE", 5)  # there are four
  monkeypatch.setattr(whole_photographs, "_PEOPLE", 1)
  # A photograph that shows test people, too, teaches nothing.
  people, names = people_of(config), whole_photographs._names
  monkeypatch.setattr(
    whole_photographs,
    "_names",
    lambda people, raw, of, most: (
      names(people, raw, people.known, most) if of is people.known
      else names(people, raw, people.test, most)
      | names(people, raw, people.known, 7)
    ),
  )  # fmt: skip
  made = findings(negative, people)
  (one,) = {f.where["pairs"] for f in made if "embedding map" in f.by}
  assert one == 1
  monkeypatch.setattr(whole_photographs, "_names", names)
  monkeypatch.setattr(whole_photographs, "_PEOPLE", 5)
  for options in {}, dict(pairs=0):
    made = findings(negative, people_of(config), **options)
    assert not [f for f in made if "embedding map" in f.by]


def test_a_detector_is_measured_in_mirror_images(folder, monkeypatch):
  """Of eight mirror images, looked at second, it misses every other face."""
  seen = []

  def find_left(detector, marker, pictures, threshold=0.5):
    found = find(detector, marker, pictures)
    for i in range(len(pictures)):
      seen.append(i)
      if 8 < len(seen) <= 16 and len(seen) % 2:
        found[i] = detection.Faces(
          np.zeros((0, 4)), np.zeros(0), np.zeros((0, 68, 2))
        )
    return found

  monkeypatch.setattr(detection, "find", find_left)
  config = config_of(folder)
  config.data.align = "landmarks"
  made = findings(target_of(config, lambda x: x), people_of(config))
  share = {f.metric: f for f in made if f.claim == "detection"}
  for name in ("found", "same count"):
    assert share[name].value == 1 and share[name].ceiling.value == 0.5
  faces = detection.Faces(
    np.array([[10.0, 5, 30, 25]]), np.ones(1), np.zeros((1, 68, 2))
  )
  mirrored = whole_photographs._mirror(faces, 100)
  np.testing.assert_array_equal(mirrored.boxes, [[70, 5, 90, 25]])
  assert whole_photographs._matches(faces, mirrored) == [-1]
  assert whole_photographs._matches(faces, faces) == [0]


def test_what_is_gone_is_not_found(folder):
  config = config_of(folder)
  grey = target_of(config, lambda image: jnp.full_like(image, 0.5))
  made = findings(grey, people_of(config))
  share = {f.metric: f for f in made if f.claim == "detection"}
  assert share["found"].value == share["same count"].value == 0
  assert not [f for f in made if f.claim == "landmarks"]


def test_photographs_of_one_person_are_taken_together(folder):
  config = config_of(folder)
  people = people_of(config)
  raw = sources.open_unframed(config.data)
  names = whole_photographs._names(people, raw, people.test, 4)
  assert len(names) == 4
  owners = [raw.identities[of[0]] for of in names.values()]
  assert len(set(owners)) == 2
  rows = people.test.arrays["row"].tolist()
  assert set(names) <= {people.data.source.name(row) for row in rows}


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(source="procedural"), "not of a folder"),
    (dict(align="box"), "align=box"),
  ],
)
def test_what_cannot_be_read_is_said(folder, change, message, caplog):
  config = config_of(folder)
  people = people_of(config)
  with config.unlocked():
    config.data.update(change)
  assert not findings(target_of(config, lambda image: image), people)
  assert message in caplog.text


def test_a_face_somewhere_else_is_not_the_one_that_was_there(
  folder, monkeypatch
):
  def elsewhere(detector, marker, pictures, threshold=0.5):
    found = find(detector, marker, pictures)
    flat = [np.asarray(p, float)[20:44, 20:44].std() <= 12 for p in pictures]
    corner = detection.Faces(
      np.array([[0.0, 0, 12, 12]]), np.ones(1), POINTS[None]
    )
    return [corner if gone else f for f, gone in zip(found, flat)]

  monkeypatch.setattr(detection, "find", elsewhere)
  config = config_of(folder)
  grey = target_of(config, lambda image: jnp.full_like(image, 0.5))
  share = {
    f.metric: f.value
    for f in findings(grey, people_of(config))
    if f.claim == "detection"
  }
  assert share == {"found": 0, "same count": 1}
