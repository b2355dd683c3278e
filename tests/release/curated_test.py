"""Faces of nobody are chosen by what is seen in them."""

import csv
import itertools
import json

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from jaxpriv.data import (
  alignment,
  dataset,
  memory,
  pipeline,
  pretrained,
  safetensors,
  skin,
)
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.records import DataError
from jaxpriv.errors import SettingError
from jaxpriv.release import curated
from jaxpriv.release.curated import Candidates, Kinds, Read
from jaxpriv.training import detection, witnesses
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training.mechanism import Target, Trained
from jaxpriv.training.method import Outputs, Phase, untrained
from tests.methods.face_source_test import published
from tests.release import toy

BOTH = (curated.GENDER, curated.SKIN)


def told(images, align, gender=True):
  """By the red and green value of the first pixel; none where blue is 255."""
  first = images[:, 0, 0].astype(np.float64)
  lost = first[:, 2] == 255
  male = np.where(lost | (not gender), np.nan, first[:, 0] / 255)
  return Read(male, np.where(lost, np.nan, first[:, 1] - 100))


def pictures(*kinds):
  images = np.zeros((len(kinds), 8, 8, 3), np.uint8)
  for image, (male, angle, lost) in zip(images, kinds, strict=True):
    image[0, 0] = 200 * male, angle + 100, 255 * lost
  return images


def candidates(*kinds, at_once=3):
  batches = (
    pictures(*kinds[i : i + at_once]) for i in range(0, len(kinds), at_once)
  )
  return Candidates(batches, "head", {"mechanism": "m"})


def test_as_many_of_each_kind_are_written_as_there_are(tmp_path, monkeypatch):
  monkeypatch.setattr(curated, "read", told)
  light, dark = 60, -40
  made = candidates(
    *[(1, light, 0), (1, light, 0), (0, light, 0), (1, light, 0)],
    *[(0, light, 1), (0, dark, 0), (0, light, 0), (1, light, 0)],
  )
  kinds = Kinds(BOTH, (41.0,))
  out = tmp_path / "out"
  content = curated.write(made, out, kinds, count=8, most=100)
  chosen = {
    "female above 41": 2,
    "female below 41": 1,
    "male above 41": 2,
    "male below 41": 0,
  }
  assert content["chosen"] == chosen
  assert content["wanted"] == dict.fromkeys(chosen, 2)
  assert content["candidates"] == 8 and content["without a face"] == 1
  assert content["candidates of each class"]["male above 41"] == 4
  numbers = [face["candidate"] for face in content["faces"]]
  assert numbers == [0, 1, 2, 5, 6]
  assert json.loads((out / "selection.json").read_text()) == json.loads(
    json.dumps(content)
  )
  with open(out / "labels.csv") as stream:
    rows = list(csv.DictReader(stream))
  assert [row["gender"] for row in rows] == ["M", "M", "F", "F", "F"]
  assert rows[3]["set"] == "female below 41"
  # Rows of the sheet are as long as the longest: two faces, of three classes.
  assert Image.open(out / "selection.png").size == (2 * 98, 3 * 98)
  third = np.asarray(Image.open(out / rows[3]["file"]))
  np.testing.assert_array_equal(third, pictures((0, dark, 0))[0])
  assert sorted(p.name for p in out.iterdir()) == [
    *(f"{i:06}.png" for i in range(5)),
    *("labels.csv", "selection.json", "selection.png"),
  ]
  with pytest.raises(DataError, match="is there already"):
    curated.write(made, out, kinds, 8, 100)


def test_points_are_told_of_faces_that_fill_their_images(tmp_path, monkeypatch):
  monkeypatch.setattr(curated, "read", told)
  made = candidates((1, 0, 0))._replace(align="landmarks")
  curated.write(made, tmp_path / "out", Kinds((curated.SKIN,), ()), 1, 9)
  with open(tmp_path / "out/labels.csv") as stream:
    (row,) = csv.DictReader(stream)
  points = [p.split(",") for p in row["points"].split(";")]
  np.testing.assert_allclose(
    np.array(points, float), alignment.template(8, "landmarks"), atol=0.01
  )


def test_it_ends_when_there_are_enough_or_too_many_were_seen(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(curated, "read", told)
  endless = lambda: Candidates(
    (pictures((i % 2, 50, 0)) for i in itertools.count()), "head", {}
  )
  kinds = Kinds((curated.GENDER,), ())
  enough = curated.write(endless(), tmp_path / "a", kinds, 10, 100)
  assert enough["candidates"] == 10 and len(enough["faces"]) == 10
  few = curated.write(endless(), tmp_path / "b", Kinds(BOTH, ()), 10, 7)
  assert few["candidates"] == 7 and len(few["faces"]) == 7


def test_what_cannot_be_chosen_leaves_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr(curated, "read", told)
  kinds, out = Kinds(BOTH, (41.0,)), tmp_path / "out"
  with pytest.raises(SettingError, match="there are 4 classes"):
    curated.write(candidates((1, 0, 0)), out, kinds, 3, 9)
  with pytest.raises(DataError, match="none of 2 candidates .* 2 show no face"):
    curated.write(candidates((1, 0, 1), (1, 0, 1)), out, kinds, 4, 9)
  assert not list(tmp_path.iterdir())


def test_a_folder_that_was_begun_is_begun_anew(tmp_path, monkeypatch):
  def fail(images, align, gender):
    raise RuntimeError("in the middle")

  monkeypatch.setattr(curated, "read", fail)
  kinds = Kinds((curated.SKIN,), ())
  with pytest.raises(RuntimeError):
    curated.write(candidates((1, 0, 0)), tmp_path / "out", kinds, 1, 9)
  assert not (tmp_path / "out").exists()
  (tmp_path / "out.curating/000007.png").write_bytes(b"")
  monkeypatch.setattr(curated, "read", told)
  curated.write(candidates((1, 0, 0)), tmp_path / "out", kinds, 1, 9)
  assert not (tmp_path / "out/000007.png").exists()
  assert not (tmp_path / "out.curating").exists()


def test_skin_is_read_of_aligned_faces_without_a_network(monkeypatch):
  monkeypatch.setattr(witnesses, "load", None)
  faces = ProceduralFaces(30, 1, 64, aligned="head")
  images = np.stack([faces[i]["image"] for i in range(30)])
  seen = curated.read(images, "head", gender=False)
  assert np.isnan(seen.male).all()
  colours = skin.cheeks(jnp.asarray(images / np.float32(255)), None, "head")
  np.testing.assert_allclose(
    seen.angle, skin.typology_angle(colours), atol=1e-3
  )
  assert np.ptp(seen.angle) > 40
  classes = Kinds((curated.SKIN,), (28.0,)).of(seen)
  np.testing.assert_array_equal(classes[:, 0], seen.angle < 28)


def test_faces_of_unknown_framing_are_found_first(monkeypatch):
  """The second image shows none."""
  faces = ProceduralFaces(2, 1, 112, aligned="landmarks")
  image = faces[0]["image"]
  wide = np.full((2, 200, 200, 3), 90, np.uint8)
  wide[0, 40:152, 50:162] = image

  def find(detector, marker, opened):
    points = np.zeros((1, 68, 2))
    five = alignment.arcface_template(112) + (50, 40)
    # Eyes of iBUG are 36 to 47, the tip of the nose is 30, the mouth 48 and 54.
    points[0, 36:42], points[0, 42:48] = five[0], five[1]
    points[0, 30], points[0, 48], points[0, 54] = five[2:]
    there = detection.Faces(np.zeros((1, 4)), np.ones(1), points)
    return [
      there,
      detection.Faces(there.boxes[:0], there.scores[:0], points[:0]),
    ]

  monkeypatch.setattr(witnesses, "load", lambda name: name)
  monkeypatch.setattr(detection, "find", find)
  seen = curated.read(wide, "", gender=False)
  expected = curated.read(image[None], "landmarks", gender=False)
  np.testing.assert_allclose(seen.angle[0], expected.angle[0], atol=0.5)
  assert np.isnan(seen.angle[1])
  assert Kinds((curated.SKIN,), ()).of(seen).tolist() == [[0], [-1]]


def test_a_generator_in_a_file_draws_the_same_faces_again(tmp_path):
  path = tmp_path / "generator.safetensors"
  safetensors.write(path, published(32, 8, 8, 2))
  first, again, other = (
    curated.of_arrays(str(path), seed, 0.7) for seed in (3, 3, 4)
  )
  images = next(first.batches)
  assert images.shape[1:] == (32, 32, 3) and images.dtype == np.uint8
  np.testing.assert_array_equal(images, next(again.batches))
  assert (images != next(other.batches)).any()
  assert (images != next(first.batches)).any()
  assert first.align == "" and first.origin["seed"] == 3


def test_files_of_no_such_generator_are_refused(tmp_path):
  path = tmp_path / "generator.safetensors"
  arrays = published(32, 8, 8, 2)
  for change, message in (
    ({"mapping.embed.weight": np.zeros((8, 3), np.float32)}, "with classes"),
    ({"synthesis.b4.const": None}, "is of no StyleGAN2 generator"),
  ):
    changed = {k: v for k, v in (arrays | change).items() if v is not None}
    safetensors.write(path, changed)
    with pytest.raises(DataError, match=message):
      curated.of_arrays(str(path), 0, 0.7)


def test_a_run_that_draws_nobody_is_refused(tmp_path):
  toy.make_run(tmp_path / "run", "image")
  with pytest.raises(DataError, match="draws no faces of nobody"):
    curated.of_run(tmp_path / "run", mesh_lib.make_mesh(1))


def test_what_is_made_of_photographs_is_of_somebody(tmp_path, monkeypatch):
  """It is drawn, too, but not of codes or conditions alone."""
  drawn = Outputs(drawn=lambda state, frozen, batch: batch["image"])
  trained = Trained((Phase("d", (), untrained(drawn)),), {"d": {}})
  target = Target("m", None, trained, ("image",))
  monkeypatch.setattr(curated.release, "load", lambda workdir, mesh: target)
  with pytest.raises(DataError, match="draws no faces of nobody"):
    curated.of_run(tmp_path, mesh_lib.make_mesh(1))


def test_unreadable_photographs_have_no_conditions(tmp_path, monkeypatch):
  source = memory.in_memory(ProceduralFaces(90, 1, 32, aligned="head"))
  splits = dict(train=np.arange(80), attack=np.arange(0), test=np.arange(0))
  data = dataset.Data(source, splits, np.arange(90), 90)
  drawn = Outputs(drawn=lambda state, frozen, batch: batch["image"])
  trained = Trained((Phase("d", (), untrained(drawn)),), {"d": {}})
  config = ConfigDict({"data": {"align": "head"}})
  target = Target("m", config, trained, ("model",), nobody=True)
  monkeypatch.setattr(curated.release, "load", lambda workdir, mesh: target)
  monkeypatch.setattr(curated.run, "open_data", lambda config: data)
  gather = pipeline.gather

  def some(source, rows):
    batch = gather(source, rows)
    batch["padding"] = rows == 3
    return batch

  monkeypatch.setattr(pipeline, "gather", some)
  made = curated.of_run(tmp_path, mesh_lib.make_mesh(1))
  first, second = next(made.batches), next(made.batches)
  assert len(first) == 63 and len(second) == 63  # rows 64 to 79, 0 to 47
  numbers = [i for i in range(64) if i != 3]
  np.testing.assert_array_equal(first, source.arrays["image"][numbers])


def test_what_faces_cannot_be_told_apart_by_is_named():
  with pytest.raises(SettingError, match="not by age"):
    Kinds(("age",), ())
  with pytest.raises(SettingError, match="not by nothing"):
    Kinds((), ())
  with pytest.raises(SettingError, match="angle fall"):
    Kinds((curated.SKIN,), (10.0, 41.0))
  assert Kinds((curated.SKIN,), skin.EDGES).names == (skin.CLASSES,)
  assert Kinds((curated.SKIN,), (41.0, 10.0)).names == (
    ("above 41", "10 to 41", "below 10"),
  )


@pytest.mark.skipif(
  bool(pretrained.missing((curated.READER,))), reason="networks are not fetched"
)
def test_gender_is_read_by_a_network():
  faces = ProceduralFaces(40, 1, 112, aligned="head")
  images = np.stack([faces[i]["image"] for i in range(40)])
  seen = curated.read(images, "head")
  assert ((seen.male >= 0) & (seen.male <= 1)).all()
  assert 0 < (seen.male > 0.5).sum() < 40
