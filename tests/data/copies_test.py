"""The same picture twice is found, told, and never on both sides."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxpriv.data import account, copies, dataset, pipeline, sources
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.records import DataError
from jaxpriv.metrics import identification

SIZE = 160


@pytest.fixture(scope="module")
def drawn():
  """Drawn faces [24, SIDE, SIDE, 3] of 8 people, as photographs are."""
  source = ProceduralFaces(8, 3, SIZE, seed=0)
  return source.batch(np.arange(24))["image"]


def saved_again(pixels, quality):
  stream = io.BytesIO()
  Image.fromarray(pixels).save(stream, "jpeg", quality=quality)
  return np.asarray(Image.open(stream))


def resized(pixels, side):
  small = Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS)
  return np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def cropped(pixels, left, top, right, bottom):
  box = (left, top, SIZE - right, SIZE - bottom)
  image = Image.fromarray(pixels).resize(
    (SIZE, SIZE), Image.Resampling.BILINEAR, box=box
  )
  return np.asarray(image)


def found(images):
  return [
    g.tolist()
    for g in copies.find(copies.thumbnails(np.stack(images), "landmarks"))
  ]


def test_different_photographs_are_different(drawn):
  assert found(drawn) == []


@given(
  who=st.integers(0, 23),
  quality=st.integers(40, 95),
  side=st.integers(80, 240),
  crop=st.sampled_from([(1, 0, 0, 1), (0, 1, 0, 0), (1, 1, 1, 1)]),
)
@settings(max_examples=15, deadline=None)
def test_near_copies_are_found(drawn, who, quality, side, crop):
  near = [
    saved_again(drawn[who], quality),
    resized(drawn[who], side),
    cropped(drawn[who], *crop),
  ]
  assert found([*drawn, *near]) == [[who, 24, 25, 26]]


def test_many_copies_are_one_group(drawn):
  images = [saved_again(drawn[i % 3], 60 + i) for i in range(30)]
  assert found(images) == [list(range(i, 30, 3)) for i in range(3)]


def test_groups_whose_members_are_nearest_to_each_other_are_joined(drawn):
  rng = np.random.default_rng(0)
  near = [drawn[2], saved_again(drawn[2], 40)]
  images = [
    np.clip(picture + rng.integers(-1, 2, picture.shape), 0, 255)
    for picture in near
    for _ in range(4)
  ]
  assert found(np.array(images, np.uint8)) == [list(range(8))]


def test_pictures_that_show_nothing_are_not_compared():
  flat = [np.full((32, 32, 3), value, np.uint8) for value in (0, 0, 90, 91)]
  assert found(flat) == []


def test_of_heads_the_part_is_compared_that_has_the_face():
  """That of ArcFace's square: portraits of a session differ there alone."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (2, 170, 170, 3), np.uint8)
  np.testing.assert_allclose(
    copies.thumbnails(images, "head"),
    copies.thumbnails(images[:, 43:143, 35:135], "landmarks"),
    atol=1e-3,
  )


@pytest.mark.parametrize("align, groups", [("head", []), ("landmarks", [2])])
def test_a_smile_makes_another_picture_of_a_head(drawn, align, groups):
  smile = drawn[0].copy()
  smile[92:106, 60:100] = smile[92:106, 60:100] // 2 + 60
  thumbnails = copies.thumbnails(np.stack([drawn[0], smile]), align)
  assert list(map(len, copies.find(thumbnails))) == groups


def test_copies_are_looked_for_as_photographs_are_framed(
  folder, data_config, monkeypatch
):
  seen = []
  look = copies.thumbnails
  monkeypatch.setattr(
    copies,
    "thumbnails",
    lambda images, align: seen.append(align) or look(images, align),
  )
  for align in ("head", "landmarks"):
    config = data_config(path=str(folder), copies="refuse", align=align)
    sources.open_source(config)
    assert set(seen) == {align}
    seen.clear()


def test_thumbnails_are_means_of_areas():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (2, 96, 96, 3), np.uint8)
  grey = images @ np.array([0.299, 0.587, 0.114])
  expected = grey.reshape(2, 32, 3, 32, 3).mean((2, 4))
  np.testing.assert_allclose(
    copies.thumbnails(images, "centre"), expected, atol=1e-3
  )
  odd = copies.thumbnails(images[:, :75, :75], "centre")
  np.testing.assert_allclose(
    odd.mean((1, 2)), grey[:, :75, :75].mean((1, 2)), rtol=1e-5
  )


def save(folder, drawn, rows):
  """rows: (file, drawn image or pixels)."""
  for name, pixels in rows:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path, drawn):
  save(tmp_path, drawn, [(f"p{i // 3}/{i}.png", drawn[i]) for i in range(24)])
  return tmp_path


@pytest.mark.parametrize("cache", [True, False])
def test_one_of_each_is_used(folder, drawn, data_config, cache):
  save(folder, drawn, [("p0/copy.png", drawn[1]), ("p7/x.png", drawn[21])])
  save(folder, drawn, [("copy.png", saved_again(drawn[4], 80))])  # of nobody
  config = data_config(
    path=str(folder), image_size=SIZE, cache=cache, copies="refuse"
  )
  source = sources.open_source(config)
  assert len(source) == 24
  names = [source.name(i) for i in range(24)]
  assert set(names) == {f"p{i // 3}/{i}.png" for i in range(24)}
  np.testing.assert_array_equal(
    [source.person(n) for n in source.identities],
    [name.split("/")[0] for name in names],
  )
  if not cache:  # labels that are compared when a run goes on
    assert source.attribute_values.shape == (24, 0)
  batch = next(pipeline.epoch(source, np.arange(24), batch_size=24))
  for name, image in zip(names, batch["image"]):
    number = int(name.split("/")[1].removesuffix(".png"))
    np.testing.assert_array_equal(image, drawn[number])
  assert account.of(source).counts() == {
    "seen": 27,
    "used": 24,
    "left_out": {account.COPY: 3},
  }
  config.copies = "keep"
  assert len(sources.open_source(config)) == 27


def test_one_picture_of_two_people_is_refused(folder, drawn, data_config):
  save(folder, drawn, [("p5/other.png", saved_again(drawn[0], 85))])
  config = data_config(path=str(folder), image_size=SIZE, copies="refuse")
  with pytest.raises(DataError, match=r"several people, such as p0/0.png \(p0"):
    sources.open_source(config)
  config.copies = "leave_out"
  source = sources.open_source(config)
  assert len(source) == 23
  assert account.of(source).left_out == {
    account.TWO_NAMES: ["p0/0.png", "p5/other.png"]
  }
  config.copies = "both"
  with pytest.raises(DataError, match="data.copies is 'both'"):
    sources.open_source(config)


def test_a_copy_is_never_in_two_splits(folder, drawn, data_config):
  save(folder, drawn, [(f"p{i // 3}/b{i}.png", drawn[i]) for i in range(24)])
  config = data_config(path=str(folder), image_size=SIZE, copies="refuse")
  shares = {"train": 0.5, "attack": 0.25, "test": 0.25}
  data = dataset.split_data(sources.open_source(config), shares, 0, "image")
  pictures = {
    split: {data.source[i]["image"].tobytes() for i in rows}
    for split, rows in data.splits.items()
  }
  assert sum(map(len, pictures.values())) == 24
  assert not pictures["train"] & pictures["test"]


def test_planted_copies_do_not_move_the_undisguised(folder, drawn, data_config):
  """A recogniser of nothing but pixels would find every copy."""

  def undisguised(choice):
    config = data_config(path=str(folder), image_size=SIZE, copies=choice)
    source = sources.open_source(config)
    pixels = source.arrays["image"].reshape(len(source), -1).astype(np.float32)
    # One photograph a person is enrolled, the others are probes.
    first = np.unique(source.identities, return_index=True)[1]
    probes = np.setdiff1d(np.arange(len(source)), first)
    return identification.rank1(
      pixels[first] - pixels.mean(0),
      source.identities[first],
      pixels[probes] - pixels.mean(0),
      source.identities[probes],
    )

  before = undisguised("refuse")
  save(folder, drawn, [(f"p{i // 3}/0{i}.png", drawn[i]) for i in range(24)])
  after, without = undisguised("refuse"), undisguised("keep")
  assert (after.hits, after.total) == (before.hits, before.total)
  assert without.rate > before.rate + 0.1


def test_drawn_faces_are_not_looked_through(monkeypatch):
  monkeypatch.setattr(copies, "find", None)
  source = ProceduralFaces(2, 2, 32, seed=0)
  assert copies.settle(source, "refuse", "centre") is source
  assert copies.count(source, "centre") == 0
