"""Targets, loss and scores of the multi-task method against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import dp_multitask as dp_multitask_config
from jaxpriv.data.records import AFLW_LANDMARKS, LANDMARKS, DataError
from jaxpriv.methods import dp_multitask
from jaxpriv.methods.dp_multitask import reading
from jaxpriv.methods.dp_multitask import views as views_lib
from jaxpriv.models import multi_task
from jaxpriv.models.multi_task import TASKS
from tests import tiny

SIZE = 32


@pytest.fixture(scope="module")
def phase():
  (made,) = dp_multitask.phases(tiny.dp_multitask())
  return made


@pytest.fixture
def batch():
  return {k: jnp.asarray(v) for k, v in tiny.faces(6, size=SIZE).items()}


def views(region, mirrored=False):
  return {
    "regions": jnp.asarray(region, jnp.float32)[:, None],
    "mirrored": jnp.full((len(region), 1), mirrored),
  }


def test_labels_are_those_of_the_region(batch):
  box = np.asarray(batch["box"], np.float64)
  side = np.sqrt((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]))
  centre = (box[:, :2] + box[:, 2:]) / 2
  face = np.concatenate([centre, side[:, None]], 1)
  made = views_lib.labels(batch, views(face), gender=0)
  points, known = (np.asarray(x)[:, 0] for x in made["landmarks"])
  label = np.asarray(batch["landmarks"])[:, 5:]
  expected = (label - centre[:, None]) / side[:, None, None]
  np.testing.assert_allclose(points, expected, atol=1e-5)
  seen = np.asarray(batch["visibility"])[:, 5:]
  np.testing.assert_array_equal(known, seen == 1)
  label, known = made["detection"]
  assert label.all() and known.all()
  assert (
    np.asarray(made["gender"][0])[:, 0] == batch["attributes"][:, 0]
  ).all()


def test_a_mirrored_region_has_mirrored_labels(batch):
  """They equal labels of the mirrored photograph, worked out here."""
  face = np.tile([[15.0, 16, 20]], (6, 1))
  made = views_lib.labels(batch, views(face, True), gender=0)
  there = views_lib.labels(batch, views(face), gender=0)
  index = AFLW_LANDMARKS.index
  left, right = index("left_eye_left"), index("right_eye_right")
  points, plain = (np.asarray(x["landmarks"][0]) for x in (made, there))
  np.testing.assert_allclose(points[:, 0, left, 0], -plain[:, 0, right, 0])
  np.testing.assert_allclose(points[:, 0, left, 1], plain[:, 0, right, 1])
  seen, other = (np.asarray(x["visibility"][0]) for x in (made, there))
  np.testing.assert_array_equal(seen[:, 0, left], other[:, 0, right])
  pose, same = (np.asarray(x["pose"][0])[:, 0] for x in (made, there))
  np.testing.assert_allclose(pose, same * [-1, 1, -1])


def test_labels_of_drawn_regions_are_where_their_pixels_are():
  """A dot on a corner of an eye is found where the label has it."""
  size, dot = 64, (30.0, 25.0)
  config = dp_multitask_config.get_config("demo")
  options = config.model
  which = AFLW_LANDMARKS.index("left_eye_left")
  mirrored = AFLW_LANDMARKS.index("right_eye_right")
  y, x = np.mgrid[:size, :size]
  image = np.exp(-((x - dot[0]) ** 2 + (y - dot[1]) ** 2) / 8)
  landmarks = np.full((1, len(LANDMARKS), 2), np.nan, np.float32)
  landmarks[0, views_lib.POINTS + which] = dot
  batch = {
    "image": jnp.asarray(np.tile(image[None, :, :, None], (8, 1, 1, 3))),
    "box": jnp.tile(jnp.array([[20.0, 16, 44, 46]]), (8, 1)),
    "landmarks": jnp.asarray(np.tile(landmarks, (8, 1, 1))),
    "visibility": jnp.ones((8, len(LANDMARKS)), jnp.int8),
    "pose": jnp.zeros((8, 3)),
  }
  made = views_lib.drawn(jax.random.key(0), batch, options)
  points = np.asarray(views_lib.labels(batch, made, None)["landmarks"][0])
  flips = set()
  for row in range(8):
    for region in range(options.near):
      flipped = bool(made["mirrored"][row, region])
      point = points[row, region, mirrored if flipped else which]
      crop = np.asarray(made["crops"][row, region, :, :, 0])
      top, left = np.unravel_index(crop.argmax(), crop.shape)
      expected = point * options.side / options.context
      middle = (options.side - 1) / 2
      np.testing.assert_allclose(
        [left - middle, top - middle], expected, atol=1.0
      )
      flips.add(flipped)
  assert flips == {True, False}


def test_what_a_region_does_not_show_is_not_learned_from_it(batch):
  box = np.asarray(batch["box"])
  centre = (box[:, :2] + box[:, 2:]) / 2
  away = np.concatenate([centre + 100, np.full((6, 1), 10)], 1)
  made = views_lib.labels(batch, views(away), gender=0)
  assert not np.asarray(made["detection"][0]).any()
  assert np.asarray(made["detection"][1]).all()
  for task in TASKS[1:]:
    assert not np.asarray(made[task][1]).any(), task
  # Overlaps between the two limits: points are learned, the rest is not.
  side = np.sqrt(np.prod(box[:, 2:] - box[:, :2], -1))
  partly = np.concatenate([centre, 1.6 * side[:, None]], 1)
  overlap = 1 / 1.6**2
  assert 0.35 < overlap < 0.5
  made = views_lib.labels(batch, views(partly), gender=0)
  assert not np.asarray(made["detection"][1]).any()
  assert np.asarray(made["landmarks"][1]).any()
  assert not np.asarray(made["pose"][1]).any()


def test_unknown_labels_are_left_out(batch):
  blank = dict(
    batch,
    box=batch["box"].at[0].set(jnp.nan),
    pose=batch["pose"].at[1].set(jnp.nan),
    landmarks=batch["landmarks"].at[2].set(jnp.nan),
    visibility=batch["visibility"].at[3].set(-1),
    attributes=batch["attributes"].at[4].set(-1),
  )
  face = np.tile([[16.0, 16, 18]], (6, 1))
  made = views_lib.labels(blank, views(face), gender=0)
  known = {
    t: np.asarray(m)[:, 0].reshape(6, -1).any(1) for t, (_, m) in made.items()
  }
  assert not any(known[t][0] for t in TASKS)
  assert not known["pose"][1] and known["pose"][2]
  assert not known["landmarks"][2] and known["landmarks"][1]
  assert not known["visibility"][3] and not known["gender"][4]


def test_the_loss_is_kendalls(phase, batch):
  """Worked out in float64 from the outputs of the network."""
  batch = dict(batch, attributes=batch["attributes"].at[1].set(-1))
  state = phase.method.init(jax.random.key(0), batch, {})
  first = np.array([0.0, -3.0, -2.0, -3.0, 0.0])
  logs = first + [0.3, -1.0, 0.2, -0.5, 7.0]  # the last is beyond the range
  params = {**state["params"], "log_variances": jnp.float32(logs)}
  found = phase.method.outputs.losses({**state, "params": params}, {}, batch)
  options = tiny.dp_multitask().model
  made = views_lib.fixed(batch, options)
  targets = views_lib.labels(batch, made, gender=0)
  outputs = network_outputs(params, made["crops"])
  total = np.zeros((6, 2))
  for i, task in enumerate(TASKS):
    s = min(logs[i], first[i] + 2.0)
    label, known = (np.asarray(x, np.float64) for x in targets[task])
    y = outputs[task]
    for row in range(6):
      for view in range(2):
        mask = known[row, view].astype(bool)
        if not mask.any():
          continue
        if task in ("detection", "gender"):
          z = y[row, view]
          value = np.log(np.exp(z).sum()) - z[int(label[row, view])]
          weight = 1.0
        else:
          error = y[row, view].reshape(label.shape[2:]) - label[row, view]
          size = y.shape[-1]
          value = (
            np.where(np.isfinite(error), error, 0)[mask] ** 2
          ).sum() / size
          weight = 0.5
        total[row, view] += weight * np.exp(-s) * value + s / 2
  np.testing.assert_allclose(found["loss"], total.mean(1), rtol=1e-4)


def network_outputs(params, crops):
  options = tiny.dp_multitask().model
  model = multi_task.MultiTask(
    multi_task.SmallMultiTask(**options.small), options.units
  )
  rows, count = crops.shape[:2]
  flat = crops.reshape(-1, *crops.shape[2:])
  outputs, _ = model.apply({"params": params}, flat, train=False)
  return {
    t: np.asarray(y, np.float64).reshape(rows, count, -1)
    for t, y in outputs.items()
  }


def test_scores_of_perfect_and_of_constant_answers(batch):
  """The function that scores a model, given answers that are known."""
  options = tiny.dp_multitask().model
  box = np.asarray(batch["box"], np.float64)
  side = np.sqrt((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]))
  centre = (box[:, :2] + box[:, 2:]) / 2
  points = (np.asarray(batch["landmarks"])[:, 5:] - centre[:, None]) / side[
    :, None, None
  ]
  gender = np.eye(2)[np.asarray(batch["attributes"])[:, 0]]

  def apply(crops):
    off = points + np.array([0.03, 0.04])
    return {
      "landmarks": jnp.float32(off.reshape(6, -1)),
      "visibility": jnp.float32(np.asarray(batch["visibility"])[:, 5:]),
      "pose": batch["pose"] + np.deg2rad([16.0, 1, 1]),
      "gender": jnp.float32(gender),
      "detection": jnp.zeros((6, 2)),
    }, None

  found = reading.scores(apply, batch, options, 0)
  np.testing.assert_allclose(found["landmark_error"], 0.05, atol=1e-5)
  np.testing.assert_allclose(found["visibility_accuracy"], 1)
  np.testing.assert_allclose(found["pose_error"], 6, atol=1e-4)
  np.testing.assert_allclose(found["yaw_within_15"], 0)
  np.testing.assert_allclose(found["gender_accuracy"], 1)
  blank = dict(batch, pose=jnp.full((6, 3), jnp.nan))
  found = reading.scores(apply, blank, options, 0)
  assert np.isnan(found["pose_error"]).all()


def test_what_is_read_is_in_the_units_of_the_photograph(batch):
  options = tiny.dp_multitask().model
  shape = np.linspace(-0.4, 0.4, 42, dtype=np.float32)

  def apply(crops):
    return {
      "landmarks": jnp.tile(shape, (6, 1)),
      "visibility": jnp.full((6, 21), 1.5),
      "pose": jnp.zeros((6, 3)),
      "gender": jnp.tile(jnp.log(jnp.array([0.25, 0.75])), (6, 1)),
    }, None

  found = reading.read(apply, batch, options)
  box = np.asarray(batch["box"], np.float64)
  side = np.sqrt((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]))
  centre = (box[:, None, :2] + box[:, None, 2:]) / 2
  expected = centre + shape.reshape(21, 2) * side[:, None, None]
  np.testing.assert_allclose(found["landmarks"], expected, atol=1e-3)
  np.testing.assert_allclose(found["male"], 0.75, rtol=1e-6)
  assert found["visibility"].max() == 1
  some = tiny.dp_multitask(tasks=("pose",)).model
  assert set(reading.read(apply, batch, some)) == {"pose"}


def test_the_best_constant_answer():
  arrays = tiny.faces(8, size=SIZE)
  arrays["attributes"][:, 0] = [1, 1, 1, 0, -1, -1, -1, -1]
  found = reading.baseline(arrays, gender=0)
  assert found["gender_accuracy"] == 0.75
  same = {k: np.repeat(v[:1], 5, 0) for k, v in arrays.items()}
  found = reading.baseline(same, gender=0)
  assert found["landmark_error"] == pytest.approx(0, abs=1e-6)
  assert found["pose_error"] == 0 and found["visibility_accuracy"] == 1


def test_windows_cover_a_photograph():
  options = tiny.dp_multitask().model.pyramid
  windows = reading.pyramid(64, options)
  x, y, side = windows.T
  assert (x - side / 2 >= -1e-4).all() and (x + side / 2 <= 64.001).all()
  assert side.min() == pytest.approx(0.35 * 64) and side.max() <= 64.1
  # Every square of these sizes meets one that shares more than half with it.
  rng = np.random.default_rng(0)
  for _ in range(200):
    s = rng.uniform(0.35 * 64, 60)
    cx, cy = rng.uniform(s / 2, 64 - s / 2, 2)
    low = np.maximum(x - side / 2, cx - s / 2)
    high = np.minimum(x + side / 2, cx + s / 2)
    wide = np.maximum(high - low, 0)
    low = np.maximum(y - side / 2, cy - s / 2)
    high = np.minimum(y + side / 2, cy + s / 2)
    shared = wide * np.maximum(high - low, 0)
    assert (shared / (s * s + side**2 - shared)).max() > 0.5


def test_detections_are_the_best_windows(phase, batch):
  state = phase.method.init(jax.random.key(0), batch, {})
  found = phase.method.outputs.detect(state, {}, batch)
  assert found["boxes"].shape == (6, 20, 4)
  scores = np.asarray(found["scores"])
  assert (np.diff(scores, axis=1) <= 0).all() and (scores >= 0).all()


@pytest.mark.parametrize(
  "change,message",
  [
    (dict(attributes=("Smiling",)), "gender is learned from .* Male.*Smiling"),
    (dict(tasks=("detection", "age")), "age: choose"),
    (dict(tasks=()), "none: choose"),
    (dict(architecture="resnet"), "resnet.*hyperface"),
    (dict(side=18), "gradients = 4.*side = 18"),
  ],
)
def test_what_cannot_be_learned_is_said_first(change, message):
  config = tiny.dp_multitask()
  if "attributes" in change:
    config.data.attributes = change.pop("attributes")
  config.model.update(change)
  with pytest.raises(DataError, match=message):
    dp_multitask.phases(config)


def test_gender_may_be_left_out():
  config = tiny.dp_multitask()
  config.data.attributes = ()
  config.model.tasks = ("detection", "pose")
  (made,) = dp_multitask.phases(config)
  batch = {k: jnp.asarray(v) for k, v in tiny.faces(4, size=SIZE).items()}
  state = made.method.init(jax.random.key(0), batch, {})
  found = made.method.outputs.losses(state, {}, batch)
  assert set(found) == {"loss", "detection", "pose"}


@pytest.mark.parametrize(
  "scale,parameters",
  [("demo", 22_219), ("gpu", None), ("paper", 33_821_318 + 5)],
)
def test_all_scales_can_be_built(scale, parameters):
  config = dp_multitask_config.get_config(scale)
  config.data.attributes = ("Male",)
  (made,) = dp_multitask.phases(config)
  size = config.data.image_size
  batch = {
    "image": jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32),
    "box": jax.ShapeDtypeStruct((2, 4), jnp.float32),
  }
  state = jax.eval_shape(made.method.init, jax.random.key(0), batch, {})
  count = sum(x.size for x in jax.tree.leaves(state["params"]))
  assert count == parameters or parameters is None
  assert not state["batch_stats"]


def test_tasks_as_a_flag_gives_them():
  config = tiny.dp_multitask()
  config.model.tasks = ("landmarks,pose",)
  (made,) = dp_multitask.phases(config)
  assert made.method.outputs.detect is None
  assert list(dp_multitask.required(config)) == ["box", "landmarks", "pose"]


def test_landmarks_are_those_of_aflw():
  assert LANDMARKS[views_lib.POINTS :] == AFLW_LANDMARKS
