"""RetinaFace: its loss, what its phase is made of, and what it refuses."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.data import dataset
from jaxpriv.data.procedural import ProceduralFaces, ProceduralScenes
from jaxpriv.data.records import DataError
from jaxpriv.methods import face_detection
from jaxpriv.methods.face_detection import crops, reading
from jaxpriv.methods.face_detection import loss as loss_lib
from jaxpriv.metrics import anchors as anchors_lib
from jaxpriv.training import inference
from tests import tiny

NOTHING = {}
SIZES = (4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
ANCHORS = anchors_lib.grid(32, 32, SIZES)


def said(seed, logits=2):
  rng = np.random.default_rng(seed)
  sizes = {"scores": logits, "boxes": 4, "points": 10}
  return {
    name: rng.normal(0, 2, (len(ANCHORS), n)).astype(np.float32)
    for name, n in sizes.items()
  }


def faces(seed, count=3, side=32):
  """Boxes [N, 4] and points [N, 5, 2] of faces; the last has no points."""
  rng = np.random.default_rng(seed)
  low = rng.uniform(0, side / 2, (count, 2))
  boxes = np.concatenate([low, low + rng.uniform(6, side / 2, (count, 2))], 1)
  points = boxes[:, None, :2] + rng.uniform(0, 10, (count, 5, 2))
  points[-1] = np.nan
  points[-2, 2, 0] = np.nan  # one of five is not known: nor are they
  return boxes.astype(np.float32), points.astype(np.float32)


def float64(said, found, boxes, points, negatives):
  """The losses of one image by loops."""
  scores = said["scores"].astype(np.float64)
  if scores.shape[1] == 1:
    scores = np.concatenate([np.zeros_like(scores), scores], 1)
  probability = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
  smooth = lambda x: np.where(abs(x) < 1, x**2 / 2, abs(x) - 0.5).sum()
  detection = box = landmarks = 0.0
  known = 0
  for a, face in enumerate(found):
    if face < 0:
      continue
    x, y, w, h = ANCHORS[a].astype(np.float64)
    x0, y0, x1, y1 = boxes[face].astype(np.float64)
    detection -= np.log(probability[a, 1])
    target = [
      ((x0 + x1) / 2 - x) / w / 0.1,
      ((y0 + y1) / 2 - y) / h / 0.1,
      np.log((x1 - x0) / w) / 0.2,
      np.log((y1 - y0) / h) / 0.2,
    ]
    box += smooth(said["boxes"][a] - np.array(target))
    if np.isfinite(points[face]).all():
      known += 1
      target = (points[face] - [x, y]) / [w, h] / 0.1
      landmarks += smooth(said["points"][a] - target.ravel())
  count = int((found >= 0).sum())
  hardest = sorted(-np.log(probability[found < 0, 0]))[::-1]
  detection += sum(hardest[: int(min(negatives * count, len(found) - 1))])
  return {
    "detection": detection / max(count, 1),
    "box": box / max(count, 1),
    "landmarks": landmarks / max(known, 1),
    "faces": count,
  }


LOSSES = jax.jit(loss_lib.losses, static_argnames="negatives")


@pytest.mark.parametrize("logits", [1, 2])
@pytest.mark.parametrize("negatives", [7, 2, 100])
def test_losses_are_those_of_loops(logits, negatives):
  for seed in range(4):
    boxes, points = faces(seed)
    outputs = said(seed, logits)
    found = np.asarray(anchors_lib.match(ANCHORS, boxes, np.ones(3, bool)))
    assert len(set(found)) > 2
    got = LOSSES(outputs, ANCHORS, found, boxes, points, negatives=negatives)
    expected = float64(outputs, found, boxes, points, negatives)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
      np.testing.assert_allclose(got[name], value, rtol=1e-4, err_msg=name)


def test_negatives_of_equal_loss_are_as_many_as_wanted():
  boxes, points = faces(0)
  outputs = said(0)
  outputs["scores"][:] = 0
  found = np.full(len(ANCHORS), -1)
  found[5] = 0
  got = LOSSES(outputs, ANCHORS, found, boxes, points, negatives=3)
  np.testing.assert_allclose(got["detection"], 4 * np.log(2), rtol=1e-6)


def test_an_image_without_a_face_teaches_nothing_and_no_gradient_is_nan():
  boxes, points = np.zeros((3, 4), np.float32), jnp.full((3, 5, 2), jnp.nan)
  found = np.full(len(ANCHORS), -1)

  def total(outputs, found, boxes):
    parts = loss_lib.losses(outputs, ANCHORS, found, boxes, points)
    return parts["detection"] + parts["box"] + parts["landmarks"]

  value, slopes = jax.jit(jax.value_and_grad(total))(said(0), found, boxes)
  assert value == 0
  assert not any(np.asarray(x).any() for x in slopes.values())
  # A face whose points are not known, beside rows without an area.
  found[7], boxes[0] = 0, [3, 4, 15, 18]
  value, slopes = jax.jit(jax.value_and_grad(total))(said(0), found, boxes)
  assert np.isfinite(value) and value > 0
  assert all(np.isfinite(x).all() for x in slopes.values())
  assert np.flatnonzero(np.asarray(slopes["boxes"]).any(1)).tolist() == [7]
  assert not np.asarray(slopes["points"]).any()


def scenes(rows=8, seed=0, size=tiny.SIDE, count=4):
  batch = tiny.scenes(rows, seed, size, count)
  return inference.as_float(jax.tree.map(jnp.asarray, batch))


@pytest.fixture
def made(monkeypatch):
  """Arguments of the phase by name, of the tiny config with changes."""

  def make(**changes):
    arguments = {}

    def note(name, model, loss, options, **rest):
      arguments.update(name=name, model=model, loss=loss, **rest)

    monkeypatch.setattr(face_detection.recipes, "supervised_phase", note)
    face_detection.phases(tiny.face_detection(**changes))
    return arguments

  return make


def test_losses_of_a_batch_are_those_of_its_images(made):
  weights = dict(detection=0.5, box=3.0, landmarks=1.5)
  loss = made(weights=weights, sizes=SIZES, negatives=3.0)["loss"]
  batch = scenes(4)
  batch["valid"] = batch["valid"].at[1].set(False)
  rows = [said(seed) for seed in range(4)]
  outputs = jax.tree.map(lambda *x: jnp.stack(x), *rows)
  values, parts = jax.jit(lambda b: loss(lambda x: outputs, b, NOTHING))(batch)
  for i, row in enumerate(rows):
    valid = np.asarray(batch["valid"][i])
    boxes = np.asarray(batch["boxes"][i])
    # Half a pixel from the centres of pixels to their edges.
    points = np.asarray(batch["landmarks"][i, :, :5]) + 0.5
    found = np.asarray(anchors_lib.match(ANCHORS, boxes, valid))
    expected = float64(row, found, boxes, points, 3)
    for name, value in expected.items():
      np.testing.assert_allclose(parts[name][i], value, rtol=1e-4, atol=1e-6)
    total = sum(weights[name] * expected[name] for name in weights)
    np.testing.assert_allclose(values[i], total, rtol=1e-4, atol=1e-6)
  assert values[1] == 0 and (values[jnp.array([0, 2, 3])] > 0).all()


def test_anchors_overlap_as_much_as_the_config_says(made):
  batch = scenes(4)
  outputs = jax.tree.map(lambda *x: jnp.stack(x), *map(said, range(4)))

  def faces_of(**changes):
    loss = made(sizes=SIZES, **changes)["loss"]
    read = jax.jit(lambda b: loss(lambda x: outputs, b, NOTHING)[1]["faces"])
    return np.asarray(read(batch))

  few, some = faces_of(positive=1.0, least=1.0), faces_of(positive=1.0)
  assert not few.any()
  assert (some <= batch["valid"].sum(1)).all() and some.any()
  more = faces_of(positive=0.2)
  assert (more >= some).all() and more.sum() > some.sum() + 3


def test_what_is_learned_from_is_cropped_and_half_of_it_mirrored(made):
  arguments = made(side=48, crops=(1.0,))
  batch = scenes(16)
  changed = jax.jit(arguments["transform"])(jax.random.key(0), batch)
  assert changed["image"].shape == (16, 48, 48, 3)
  plain = crops.random_crops(jax.random.key(0), batch, (1.0,), 48)
  kept = np.isclose(changed["image"], plain["image"], atol=1e-4)
  kept = kept.all((1, 2, 3))
  assert 3 < kept.sum() < 13
  turned = np.asarray(plain["image"])[:, :, ::-1]
  np.testing.assert_allclose(changed["image"][~kept], turned[~kept], atol=1e-4)
  # The mirror image of x0 is x1, of the left eye the right one.
  valid = np.asarray(plain["valid"])
  there = valid & ~kept[:, None]
  np.testing.assert_allclose(
    changed["boxes"][there][:, 0], 48 - plain["boxes"][there][:, 2], atol=1e-4
  )
  np.testing.assert_allclose(
    changed["landmarks"][there][:, 0, 0],
    47 - plain["landmarks"][there][:, 1, 0],
    atol=1e-3,
  )


def test_networks_are_those_of_the_config(made):
  model = made(backbone="resnet50", features=12, norm="group")["model"]
  assert model.trunk.norm == model.norm == "group"
  assert (type(model.trunk).__name__, model.trunk.width) == ("ResNet", 64)
  sizes = tuple(range(8, 17))
  model = made(sizes=sizes, logits=1)["model"]
  assert (model.anchors, model.logits, model.features) == (3, 1, 8)
  assert model.trunk.width == 0.125


def test_pictures_to_look_at_show_what_is_sure(made, monkeypatch):
  sample = made()["outputs"].sample
  boxes = jnp.array([[[4.0, 4, 12, 12], [16, 16, 28, 28]]])
  answer = {
    "boxes": boxes,
    "scores": jnp.array([[0.9, 0.3]]),
    "landmarks": jnp.full((1, 2, 5, 2), 8.0),
  }
  monkeypatch.setattr(reading, "detect", lambda *args: answer)
  batch = {name: value[:1] for name, value in scenes(2).items()}
  got = sample(None, batch, NOTHING)
  changed = {
    k: np.abs(v - batch["image"]).max(-1)[0] > 0 for k, v in got.items()
  }
  assert changed["read"][4, 4:12].all() and not changed["read"][14:].any()
  x0, y0, x1, y1 = np.asarray(batch["boxes"][0, 0])
  assert changed["labelled"][int(y0), int(x0) + 1 : int(x1)].any()


def data(source):
  return dataset.split_data(source, dict(train=0.5, attack=0.25, test=0.25), 0)


class Faceless(ProceduralScenes):
  """Scenes of which only every `each`-th shows faces."""

  each = 4

  def __getitem__(self, index):
    record = super().__getitem__(index)
    if self.each == 0 or index % self.each:
      record["valid"] = np.zeros_like(record["valid"])
    return record


def test_records_of_one_face_are_refused():
  config = tiny.face_detection()
  single = data(ProceduralFaces(12, 1, 32))
  with pytest.raises(DataError, match="max_faces = 0.: set config.data.max_fa"):
    face_detection.check(config, single, lambda name: None)


def test_scenes_without_a_face_are_counted(caplog):
  config = tiny.face_detection()
  check = lambda of: face_detection.check(config, of, lambda name: None)
  with caplog.at_level(logging.WARNING):
    check(data(ProceduralScenes(32, 1, 32, max_faces=2)))
    assert not caplog.records
    check(data(Faceless(32, 1, 32, max_faces=2)))
  assert "of the first 8 pictures to train on show no face" in caplog.text
  nobody = Faceless(32, 1, 32, max_faces=2)
  nobody.each = 0
  with pytest.raises(DataError, match="none of the first 8 pictures"):
    check(data(nobody))


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(backbone="vgg"), "choose of mobilenet, resnet50"),
    (dict(sizes=(8.0, 16.0)), "as many for each of 3 levels"),
    (dict(sizes=()), "as many for each of 3 levels"),
    (dict(crops=(0.5, 1.2)), "above 0 and at most 1"),
    (dict(crops=()), "above 0 and at most 1"),
    (dict(test_scales=()), "name factors above 0"),
    (dict(test_scales=(1.0, 0.0)), "name factors above 0"),
    (dict(positive=0.0), "config.model.positive = 0.0"),
    (dict(overlap=1.5), "config.model.overlap = 1.5"),
  ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
  with pytest.raises(DataError, match=message):
    face_detection.phases(tiny.face_detection(**changes))
