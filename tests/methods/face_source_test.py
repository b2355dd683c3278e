"""The source of faces: conditions, two moves, the lazy penalty, and faces."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.data import (
  alignment,
  augmentation,
  dataset,
  safetensors,
  skin,
  stylegan2_arrays,
)
from jaxpriv.data.procedural import ProceduralFaces
from jaxpriv.data.records import DataError
from jaxpriv.errors import SettingError
from jaxpriv.methods import face_source
from jaxpriv.training import inference, synthetic, synthetic_game
from tests import tiny

NOTHING = {}
KEY = jax.random.key(0)


def game(**model):
  config = tiny.face_source(**model)
  return synthetic_game.Game(config, config.model)


def photographs(rows=8):
  return inference.as_float(jax.tree.map(jnp.asarray, tiny.faces(rows)))


@pytest.fixture(scope="module")
def trained():
  """(config, state after a step, batch, metrics, step)."""
  config, batch = tiny.face_source(), photographs()
  method = face_source.phases(config)[0].method
  state = method.init(KEY, batch, NOTHING)
  step = jax.jit(method.step)
  state, metrics = step(state, NOTHING, batch, KEY)
  return config, state, batch, metrics, step


def test_a_condition_is_signs_radians_quarter_turns_and_points():
  attributes = jnp.array([[1, 0], [-1, 1]])
  yaw, pitch = jnp.array([0.3, jnp.nan]), jnp.array([-0.2, 0.1])
  angle = jnp.array([45.0, jnp.nan])
  got = synthetic.condition(attributes, yaw, pitch, angle)
  expected = [[1, -1, 0.3, -0.2, 0.5], [0, 1, 0, 0.1, 0]]
  np.testing.assert_allclose(got, expected, rtol=1e-6)
  assert got.dtype == jnp.float32
  points = np.arange(20.0).reshape(2, 5, 2)
  points[1, 2, 1] = np.nan
  told = np.asarray(synthetic.condition(attributes, yaw, pitch, angle, points))
  np.testing.assert_array_equal(told[:, :5], got)
  points[1, 2] = 0  # both numbers of a point are known, or neither
  np.testing.assert_array_equal(told[:, 5:15], points.reshape(2, 10))
  known = [[1, 1, 1, 1, 1], [1, 1, 0, 1, 1]]
  np.testing.assert_array_equal(told[:, 15:], known)
  asked = synthetic.unknown_points(2)
  none = np.asarray(synthetic.condition(attributes, yaw, pitch, angle, asked))
  assert none.shape == (2, 20) and not none[:, 5:].any()


@pytest.mark.parametrize("align, share", [("landmarks", 1), ("head", 1 / 1.7)])
def test_points_are_away_from_the_template_in_tenths_of_its_eyes(align, share):
  """The eyes of ArcFace's square are 35.24 pixels of 112 apart."""
  eyes = 64 * np.hypot(73.5318 - 38.2946, 51.5014 - 51.6963) / 112 * share
  five = jnp.asarray(alignment.template(64, align))[None]
  moved = five.at[0, 3].add(jnp.array([0.3 * eyes, -0.1 * eyes]))
  got = np.asarray(synthetic.displacements(moved, 64, align))
  home = np.asarray(synthetic.displacements(five, 64, align))
  expected = np.zeros((1, 5, 2))
  expected[0, 3] = 3, -1
  np.testing.assert_allclose(got - home, expected, atol=1e-3)
  # The template of a mirror image is no other: half a pixel is between them.
  assert np.abs(home).max() < 0.65 * 10 / eyes
  lost = synthetic.displacements(moved.at[0, 1, 0].set(jnp.nan), 64, align)
  assert np.isnan(lost[0, 1, 0]) and np.isfinite(lost[0, [0, 2, 3, 4]]).all()


def test_points_of_a_mirror_image_lie_on_the_other_side():
  batch = photographs(16)
  turned = augmentation.mirror(batch, jnp.ones(16, bool))
  before, after = (
    np.asarray(synthetic.displacements(b["landmarks"][:, :5], 32, "head"))
    for b in (batch, turned)
  )
  np.testing.assert_allclose(
    after, before[:, [1, 0, 2, 4, 3]] * [-1, 1], atol=1e-4
  )
  assert np.abs(before).max() > 1
  # In other frames there is no template.
  away = synthetic.displacements(batch["landmarks"][:, :5], 32, "centre")
  assert np.isnan(away).all()


def test_conditions_are_read_from_photographs_and_labels():
  batch = photographs()
  batch["attributes"] = batch["attributes"].at[0, 0].set(-1)
  got = np.asarray(synthetic.condition_of(batch))
  assert got.shape == (8, 4)
  labels = np.asarray(batch["attributes"])[1:, 0]
  np.testing.assert_array_equal(got[1:, 0], np.where(labels, 1, -1))
  assert got[0, 0] == 0
  np.testing.assert_array_equal(got[:, 1:3], batch["pose"][:, :2])
  angle = skin.typology_angle(skin.cheeks(batch["image"], batch["landmarks"]))
  np.testing.assert_allclose(got[:, 3] * 90, angle, rtol=1e-4)
  bare = {name: batch[name] for name in ("image", "attributes")}
  assert not np.asarray(synthetic.condition_of(bare))[:, 1:3].any()


def test_photographs_hide_some_of_their_points():
  config = tiny.face_source()
  config.data.align = "head"
  whole = synthetic_game.Game(config, config.model)
  batch = photographs(64)
  flips = jax.random.split(KEY, 4)[0]
  mirrored = augmentation.random_mirror(flips, batch)
  five = mirrored["landmarks"][:, :5]
  told = synthetic.displacements(five, tiny.SIDE, "head")
  told = np.asarray(synthetic.condition_of(mirrored, "head", told))
  drawn = np.asarray(whole.draw(KEY, batch)["condition"])
  np.testing.assert_array_equal(drawn[:, :4], told[:, :4])
  seen = drawn[:, 14:]
  counts = np.bincount(seen.sum(1).astype(int), minlength=6)
  assert (counts > 2).all()  # a sixth of photographs each
  np.testing.assert_array_equal(
    drawn[:, 4:14], told[:, 4:14] * seen.repeat(2, axis=1)
  )
  other = np.asarray(whole.draw(jax.random.key(1), batch)["condition"])
  assert (other[:, 14:] != seen).any()


def test_networks_of_earlier_versions_are_told_of_no_points_and_read_nothing():
  config = tiny.face_source()
  del config.model["points"], config.model["auxiliary"]
  whole = synthetic_game.Game(config, config.model)
  assert whole.draw(KEY, photographs())["condition"].shape == (8, 4)
  assert not whole.networks["discriminator"].reads


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_the_weight_of_what_is_read_is_a_number_no_less_than_0(weight):
  with pytest.raises(SettingError, match=f"auxiliary = {weight}: it is a w"):
    face_source.phases(tiny.face_source(auxiliary=weight))


def test_a_mirrored_photograph_has_the_condition_of_its_mirror_image():
  batch = photographs(16)
  drawn = game().draw(KEY, batch)
  yaw = np.asarray(batch["pose"][:, 0])
  turned = np.asarray(drawn["image"] != batch["image"]).any((1, 2, 3))
  assert 2 < turned.sum() < 14
  np.testing.assert_array_equal(
    drawn["condition"][:, 1], np.where(turned, -yaw, yaw)
  )
  assert drawn["latents"].shape == (16, 8)
  assert len(np.unique(jax.random.key_data(drawn["keys"]), axis=0)) == 16


def simple(weights):
  """Networks whose losses can be written down."""

  def discriminator(x, c, keep):
    logit = weights["d"] * jnp.square(x).sum((1, 2, 3)) + c[:, 0]
    read = x.mean((1, 2, 3))[:, None] * weights["r"] * jnp.arange(c.shape[1])
    return jnp.concatenate([logit[:, None], read], 1)

  return {
    "mapping": lambda z, c: z * weights["m"] + c[:, :1],
    "synthesis": lambda w, keys: (
      weights["s"] * jnp.ones((len(w), 4, 4, 3)) * w[:, :1, None, None]
    ),
    "discriminator": discriminator,
  }


WEIGHTS = dict(d=0.03, m=0.5, s=0.7, r=0.2)


def rows(due):
  rng = np.random.default_rng(0)
  condition = rng.normal(size=(5, 8)).astype(np.float32)
  condition[0, 1] = condition[4, 2] = 0  # unknown
  return {
    "image": rng.random((5, 4, 4, 3)).astype(np.float32),
    "condition": condition,  # the last five say which points are known
    "latents": rng.normal(size=(5, 2)).astype(np.float32),
    "keys": None,
    "padding": np.arange(5) == 3,
    "due": np.full(5, due, np.float32),
  }


def by_numpy(made, every, r1, auxiliary, points):
  x, c = 2 * made["image"].astype(np.float64) - 1, made["condition"]
  level = 0.7 * (made["latents"][:, 0] * 0.5 + c[:, 0])
  real = 0.03 * (x**2).sum((1, 2, 3)) + c[:, 0]
  fake = 0.03 * 48 * level**2 + c[:, 0]
  minus_log = lambda logit: np.log1p(np.exp(-logit))
  slopes = ((2 * 0.03 * x) ** 2).sum((1, 2, 3))
  due = every == 1 or made["due"][0] > 0
  judged = minus_log(real) + minus_log(-fake) + due * every * r1 / 2 * slopes
  c = c[:, :3] if points else c
  missed = lambda mean: (
    (mean[:, None] * 0.2 * np.arange(c.shape[1]) - c) ** 2 * (c != 0)
  ).sum(1)
  return (
    judged + auxiliary * missed(x.mean((1, 2, 3))),
    minus_log(fake) + auxiliary * missed(level),
  )


@pytest.mark.parametrize(
  "every, due, auxiliary, points",
  [(1, 0, 0.4, True), (4, 0, 0.0, True), (4, 1, 0.4, False)],
)
def test_losses_are_logistic_and_the_penalty_is_every_kth_times_k(
  every, due, auxiliary, points
):
  """And what is read of conditions counts where they are known."""
  made = rows(due)
  whole = game(every=every, r1=0.9, auxiliary=auxiliary, points=points)
  batch = {k: v if v is None else jnp.asarray(v) for k, v in made.items()}
  judged, said = whole.judged(simple(WEIGHTS), batch, NOTHING, None)
  drawn, _ = whole.drawn(simple(WEIGHTS), batch, NOTHING, None)
  expected = by_numpy(made, every, 0.9, auxiliary, points)
  examples = ~made["padding"]
  for got, values in zip((judged, drawn), expected, strict=True):
    np.testing.assert_allclose(got[examples], values[examples], 1e-5)
  penalty = said["penalty"][examples]
  assert (penalty > 0).all() if every == 1 or due == 1 else not penalty.any()


def test_a_discriminator_moves_no_generator():
  batch = {k: v if v is None else jnp.asarray(v) for k, v in rows(1).items()}
  whole = game(every=2)

  def slopes_of(loss):
    rows = lambda w: loss(simple(w), batch, NOTHING, None)[0]
    return jax.grad(lambda w: rows(w).mean())(WEIGHTS)

  slopes = slopes_of(whole.judged)
  assert slopes["d"] != 0 and slopes["m"] == slopes["s"] == 0
  slopes = slopes_of(whole.drawn)
  assert all(slopes[name] != 0 for name in WEIGHTS)


def test_the_penalty_is_of_the_first_step_and_every_kth_after(trained):
  _, state, batch, metrics, step = trained
  penalties = [metrics["discriminator/penalty"]]
  for _ in range(2):
    state, metrics = step(state, NOTHING, batch, KEY)
    penalties.append(metrics["discriminator/penalty"])
  assert [float(p) > 0 for p in penalties] == [True, False, True]


def test_all_networks_learn(trained):
  config, state, batch, *_ = trained
  method = face_source.phases(config)[0].method
  first = method.init(KEY, batch, NOTHING)["params"]
  for name, params in state["params"].items():
    pairs = zip(jax.tree.leaves(first[name]), jax.tree.leaves(params))
    assert any(np.abs(a - b).max() > 0 for a, b in pairs), name


# One program for all: configs of the tests below are equal.
generated = jax.jit(
  functools.partial(
    synthetic.generate, face_source.generator(tiny.face_source())
  )
)


def conditions_of(batch):
  """Those that are drawn for photographs: no points are asked for."""
  nothing = synthetic.unknown_points(len(batch["image"]))
  return synthetic.condition_of(batch, points=nothing)


def faces(trained, keys=None, truncation=1.0, **changes):
  _, state, batch, *_ = trained
  conditions = conditions_of(batch)
  for column, value in changes.items():
    conditions = conditions.at[:, int(column[1:])].set(value)
  keys = jax.random.split(KEY, 8) if keys is None else keys
  return np.asarray(generated(state, conditions, keys, truncation))


def test_a_face_is_of_its_key_and_its_condition_alone(trained):
  config, state, batch, *_ = trained
  whole = faces(trained)
  assert whole.shape == (8, 32, 32, 3)
  assert whole.min() >= 0 and whole.max() <= 1
  conditions = conditions_of(batch)
  keys = jax.random.split(KEY, 8)
  alone = generated(state, conditions[2:3], keys[2:3], 1.0)
  np.testing.assert_allclose(whole[2:3], alone, atol=1e-4)
  assert np.abs(whole - faces(trained, keys[::-1])).max() > 1e-3
  for column in range(19):
    assert np.abs(whole - faces(trained, **{f"c{column}": 2.0})).max() > 1e-3


def test_truncation_goes_to_the_mean_of_the_condition(trained):
  """Without strength of noise, which is 0 at first, images are of w alone."""
  config, state, batch, *_ = trained
  quiet = jax.tree.map(lambda p: p if p.ndim else p * 0, state)
  made = config, quiet, batch
  keys = jax.random.split(KEY, 8)
  spread = []
  for truncation in (0.0, 0.5, 1.0):
    one, other = (faces(made, k, truncation) for k in (keys, keys[::-1]))
    spread.append(np.abs(one - other).mean())
  assert spread[0] < 1e-6 < spread[1] < spread[2]
  # The condition stays.
  still, turned = faces(made, truncation=0.0), faces(made, truncation=0.0, c1=2)
  assert np.abs(still - turned).max() > 1e-3


def test_the_centre_is_the_mean_of_w_of_fixed_noise():
  """A mapping that shows what it is given, and a synthesis that shows w."""
  applies = {
    "mapping": lambda z, c: jnp.concatenate([z[..., :2] ** 2, c], -1),
    "synthesis": lambda w, keys: w[:, None, None, :] / 2,
  }
  conditions = jnp.array([[0.2], [0.6]])
  shown = lambda truncation: np.asarray(
    synthetic.drawn(
      applies, 3, conditions, jax.random.split(KEY, 2), truncation
    )
  )
  expected = np.clip((1 / 2 + 1) / 2, 0, 1)  # the mean square of noise is 1
  np.testing.assert_allclose(shown(0.0)[..., :2], expected, atol=0.08)
  np.testing.assert_allclose(shown(0.0)[0, 0, 0, 2], (0.1 + 1) / 2, rtol=1e-5)
  np.testing.assert_array_equal(shown(0.0)[0, ..., :2], shown(0.0)[1, ..., :2])
  middle = (shown(0.0) + shown(0.8)) / 2
  np.testing.assert_allclose(shown(0.4), middle, atol=1e-5)


def test_averaged_parameters_draw(trained):
  config, state, batch, *_ = trained
  other = {**state, "params": jax.tree.map(jnp.zeros_like, state["params"])}
  np.testing.assert_array_equal(faces(trained), faces((config, other, batch)))


def test_faces_are_of_the_number_of_a_row_and_of_its_condition(trained):
  config, state, batch, _, _ = trained
  method = face_source.phases(config)[0].method
  batch = {**batch, "index": jnp.array([3, 1, 3, 1, 0, 0, 7, 7])}
  shown = jax.jit(method.outputs.drawn)(state, NOTHING, batch)
  root = jax.random.key(config.seed)
  keys = jax.vmap(lambda row: jax.random.fold_in(root, row))(batch["index"])
  expected = synthetic.generate(
    face_source.generator(config),
    state,
    conditions_of(batch),
    keys,
    config.model.truncation,
  )
  np.testing.assert_allclose(shown, expected, atol=1e-5)
  one = {name: value[jnp.zeros(8, int)] for name, value in batch.items()}
  one["index"] = batch["index"]
  shown = np.asarray(jax.jit(method.outputs.drawn)(state, NOTHING, one))
  np.testing.assert_allclose(shown[0], shown[2], atol=1e-6)
  assert np.abs(shown[0] - shown[1]).max() > 1e-4


def test_samples_show_photographs_and_one_face_under_conditions(trained):
  config, state, batch, *_ = trained
  method = face_source.phases(config)[0].method
  shown = jax.jit(method.outputs.sample)(state, NOTHING, batch)
  assert set(shown) == {
    *("original", "drawn, 1", "drawn, 2", "turned, 1", "turned, 2"),
    *("light skin", "dark skin", "with Male", "without Male"),
    *("narrow mouth", "wide mouth"),
  }
  conditions = conditions_of(batch)
  keys = jax.vmap(
    lambda row: jax.random.fold_in(jax.random.fold_in(KEY, 0), row)
  )(jnp.arange(8))
  draw = lambda c: generated(state, c, keys, 0.7)
  for name, column, value in (
    ("with Male", 0, 1.0),
    ("turned, 2", 1, 0.5),
    ("dark skin", 3, -1 / 3),
  ):
    expected = draw(conditions.at[:, column].set(value))
    np.testing.assert_allclose(shown[name], expected, atol=1e-5)
  # Eyes are asked for on the template, and corners of the mouth further out.
  known = conditions.at[:, jnp.array([14, 15, 17, 18])].set(1)
  wide = known.at[:, 4 + 6].set(-1).at[:, 4 + 8].set(1)
  np.testing.assert_allclose(shown["wide mouth"], draw(wide), atol=1e-5)


def test_a_generator_goes_through_a_file_of_arrays(trained, tmp_path):
  config, state, batch, *_ = trained
  path = tmp_path / "generator.safetensors"
  safetensors.write(path, synthetic.arrays_of(state))
  arrays = safetensors.read(path)
  again = synthetic.loaded(face_source.generator(config), arrays, conditions=19)
  np.testing.assert_array_equal(faces(trained), faces((config, again, batch)))
  with pytest.raises(DataError, match="mapping/condition/kernel .* not .20, 8"):
    synthetic.loaded(face_source.generator(config), arrays, conditions=20)
  del arrays["synthesis/constant"]
  message = r"1 parameters .* synthesis/constant \(.* is missing"
  with pytest.raises(DataError, match=message):
    synthetic.loaded(face_source.generator(config), arrays, conditions=19)


def published(side, width, channels, layers):
  """Shapes of a generator as its authors' program names them."""
  shapes = {"mapping.w_avg": (width,), "synthesis.b4.const": (channels, 4, 4)}
  for i in range(layers):
    shapes[f"mapping.fc{i}.weight"] = (width, width)
    shapes[f"mapping.fc{i}.bias"] = (width,)
  for place in (4, 8, 16, 32):
    kinds = {"conv0": (channels, 3), "conv1": (channels, 3), "torgb": (3, 1)}
    for kind, (outputs, window) in kinds.items():
      if (place, kind) == (4, "conv0") or place > side:
        continue
      name = f"synthesis.b{place}.{kind}"
      shapes[f"{name}.weight"] = (outputs, channels, window, window)
      shapes[f"{name}.bias"] = (outputs,)
      shapes[f"{name}.affine.weight"] = (channels, width)
      shapes[f"{name}.affine.bias"] = (channels,)
      if kind != "torgb":
        shapes[f"{name}.noise_strength"] = ()
  rng = np.random.default_rng(0)
  return {k: np.float32(rng.normal(size=v)) for k, v in shapes.items()}


def test_generators_of_the_original_program_are_read():
  config = tiny.face_source()  # eight channels at each side, but 4 at 32
  config.model.synthesis.base = 1024
  arrays = published(32, 8, 8, 2)
  table = stylegan2_arrays.table(32, layers=2)
  state = synthetic.loaded(face_source.generator(config), arrays, 0, table)
  used = {named.name for named in table.values()}
  assert used == arrays.keys() - {"mapping.w_avg"}
  of = state["params"]["synthesis"]
  there = arrays["synthesis.b8.conv0.weight"]
  # Output 3 of input 5: turned round where sides are doubled.
  np.testing.assert_array_equal(
    of["up_8"]["kernel"][0, 2, 5, 3], there[3, 5, 2, 0]
  )
  there = arrays["synthesis.b8.conv1.weight"]
  np.testing.assert_array_equal(
    of["conv_8"]["kernel"][0, 2, 5, 3], there[3, 5, 0, 2]
  )
  np.testing.assert_array_equal(
    of["constant"][1, 2], arrays["synthesis.b4.const"][:, 1, 2]
  )
  np.testing.assert_array_equal(
    of["rgb_8"]["style"]["kernel"],
    arrays["synthesis.b8.torgb.affine.weight"].T,
  )
  drawn = synthetic.generate(
    face_source.generator(config),
    state,
    jnp.zeros((1, 0)),
    jax.random.split(KEY, 1),
  )
  assert drawn.shape == (1, 32, 32, 3) and np.isfinite(drawn).all()


def data(people=4):
  source = ProceduralFaces(people, 1, 32)
  shares = dict(train=0.25, attack=0.25, test=0.5)
  return dataset.split_data(source, shares, 0)


def test_too_few_photographs_and_scenes_are_refused():
  config = tiny.face_source()
  face_source.check(config, data(8), lambda name: None)
  with pytest.raises(DataError, match="1 photographs to train on"):
    face_source.check(config, data(), lambda name: None)
  made = data(8)
  made.source.max_faces = 3
  with pytest.raises(DataError, match="scenes: set config.data.max_faces to 0"):
    face_source.check(config, made, lambda name: None)


def test_settings_that_cannot_be_are_refused():
  with pytest.raises(SettingError, match="config.model.every = 0"):
    face_source.phases(tiny.face_source(every=0))
  config = tiny.face_source()
  config.data.image_size = 112
  with pytest.raises(SettingError, match="image_size = 112: .* a power of 2"):
    face_source.phases(config)
