"""The renderer draws the same picture in numpy and JAX, true to its factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriv.data import records
from jaxpriv.data.procedural import factors, locate, render, sampling

NEUTRAL = dict(
    yaw=0, pitch=0, roll=0, scale=0.36, shift_x=0, shift_y=0, gaze_x=0,
    gaze_y=0, smile=0.5, mouth_open=0.5, light_x=0, light_y=-0.3,
    light_strength=0.5, ambient=0.5, cast_red=1, cast_green=1, cast_blue=1,
    contrast=1, blur=1, noise=0, cover=0, bar=0, lens_dark=-1, Eyeglasses=0,
    Wearing_Hat=0, Smiling=0, Mouth_Slightly_Open=0, Rosy_Cheeks=0,
)  # fmt: skip


def _params(count, domain="human", seed=0, **fixed):
  ids = np.arange(count)
  drawn = sampling.sample_people(seed, ids, domain)
  drawn |= sampling.sample_photographs(seed, ids, ids % 3, domain)
  for name, value in fixed.items():
    drawn[name] = np.full(count, value, np.float32)
  return drawn


def _at(name):
  return records.LANDMARKS.index(name)


def _sample(image, point):
  x, y = np.round(point).astype(int)
  return image[y, x]


def _agree(draw, domain):
  params = _params(8, domain)
  ours = render(params, 64, domain=domain)
  theirs = np.asarray(draw(params))
  assert theirs.shape == ours.shape == (8, 64, 64, 3)
  grey_levels = 255.0 * np.abs(ours - theirs)
  # Rounding may flip a pixel whose edge falls exactly between two.
  assert np.quantile(grey_levels, 0.9999) < 1.0
  assert grey_levels.max() < 3.0


def test_jax_draws_people_as_numpy_does_under_vmap_and_jit():
  draw = lambda params: render(params, 64, xp=jnp)
  _agree(jax.jit(jax.vmap(draw)), "human")


def test_jax_draws_animals_as_numpy_does():
  draw = jax.jit(lambda params: render(params, 64, xp=jnp, domain="dog"))
  for domain in ("cat", "dog", "wild"):  # one program draws all three
    _agree(draw, domain)


def test_one_face_needs_no_batch_axis():
  params = _params(5)
  single = render({k: v[3] for k, v in params.items()}, 32)
  np.testing.assert_array_equal(single, render(params, 32)[3])


@pytest.mark.parametrize("size", [32, 64, 100, 256])
def test_a_face_is_the_same_at_every_size(size):
  params = _params(6, noise=0.0, blur=1.0)
  image = render(params, size)
  assert image.dtype == np.float32 and image.shape == (6, size, size, 3)
  assert image.min() >= 0.0 and image.max() <= 1.0
  method = "linear"
  small = jax.image.resize(image, (6, 32, 32, 3), method)
  large = jax.image.resize(render(params, 128), (6, 32, 32, 3), method)
  assert np.abs(small - large).mean() < 0.03


@pytest.mark.parametrize("size", [16, 31, 257])
def test_sizes_out_of_range_are_refused(size):
  with pytest.raises(ValueError, match=str(size)):
    render(_params(1), size)


def test_a_face_does_not_depend_on_its_batch():
  params = _params(21)
  whole = render(params, 64)
  for i in (0, 8, 20):
    alone = render({k: v[i : i + 1] for k, v in params.items()}, 64)
    np.testing.assert_array_equal(whole[i], alone[0])


def test_pupils_are_dark_and_white_lies_beside_them():
  params = _params(40, **NEUTRAL | dict(Bangs=0, skin_tone=4))
  images, where = render(params, 128), locate(params, 128)
  for image, points in zip(images, where.landmarks, strict=True):
    for eye in ("left_eye", "right_eye"):
      pupil = points[_at(eye)] + (0.0, -0.5)
      ends = points[_at(f"{eye}_left")], points[_at(f"{eye}_right")]
      along = [
        _sample(image, pupil + t * (end - pupil)).mean()
        for end in ends
        for t in (0.5, 0.6, 0.7, 0.8)
      ]
      x, y = np.round(pupil).astype(int)
      around = image[y - 1 : y + 2, x - 1 : x + 2].mean(-1)
      assert np.median(around) < 0.35 and around.min() < 0.2
      assert max(along) > around.min() + 0.35


def test_mouth_points_lie_on_the_mouth_under_any_pose():
  params = _params(40, **NEUTRAL | dict(Male=0, skin_tone=3))
  for name in ("yaw", "pitch", "roll", "scale", "shift_x", "shift_y"):
    params[name] = sampling.sample_photographs(9, np.arange(40), np.arange(40))[
      name
    ]
  # A redder mouth changes the picture at the mouth and only there.
  plain, redder = (
    render(params | {"lip_red": np.full(40, red, np.float32)}, 128)
    for red in (0.0, 1.0)
  )
  for i, points in enumerate(locate(params, 128).landmarks):
    change = np.abs(plain[i] - redder[i]).sum(-1)
    rows, columns = np.nonzero(change > 0.02)
    weights = change[rows, columns]
    centre = np.array(
      [np.average(columns, weights=weights), np.average(rows, weights=weights)]
    )
    # The lower lip is the fuller one: the mouth's line is above its middle.
    assert np.abs(points[_at("mouth_center")] - centre).max() < 4.0
    left, right = points[_at("mouth_left")], points[_at("mouth_right")]
    assert left[0] - 2 < columns.min() and columns.max() < right[0] + 2


def test_the_head_turns_in_three_dimensions():
  still = locate(_params(30, **NEUTRAL), 64).landmarks
  right = locate(_params(30, **NEUTRAL | dict(yaw=0.4)), 64).landmarks
  up = locate(_params(30, **NEUTRAL | dict(pitch=0.2)), 64).landmarks
  nose, eye, ear = _at("nose"), _at("left_eye"), _at("left_ear")
  moved = (right - still)[..., 0]
  assert np.all(moved[:, nose] > moved[:, eye])
  assert np.all(moved[:, eye] > 2.0)
  assert np.all(moved[:, ear] < 1.0)  # behind the axis: the other way
  assert np.all((up - still)[:, nose, 1] < -2.0)
  width = lambda points, side: np.linalg.norm(
    points[:, _at(f"{side}_eye_left")] - points[:, _at(f"{side}_eye_right")],
    axis=-1,
  )
  assert np.all(width(right, "right") < width(right, "left"))


def test_roll_and_shift_move_landmarks_rigidly():
  params = _params(10, **NEUTRAL)
  moved = params | {
    "roll": np.full(10, 0.2, np.float32),
    "shift_x": np.full(10, 0.05, np.float32),
  }
  before, after = locate(params, 64).landmarks, locate(moved, 64).landmarks
  c, s = np.cos(0.2), np.sin(0.2)
  turned = (before - 31.5) @ np.array([[c, s], [-s, c]]) + 31.5
  np.testing.assert_allclose(after, turned + (0.05 * 64, 0.0), atol=1e-3)


def test_visibility_falls_as_the_head_turns():
  shares = []
  for yaw in (0.0, 0.6, 1.1):
    fixed = NEUTRAL | dict(yaw=yaw, hair_length=-0.3, Bangs=0)
    seen = locate(_params(50, **fixed), 64).visibility
    shares.append((seen == 1).mean())
    assert np.all(seen[:, _at("left_eye")] == 1) or yaw == 0.0
  assert shares[0] > shares[1] > shares[2]
  assert shares[2] < 0.75 * shares[0]


def test_things_before_the_face_hide_points():
  plain = _params(30, **NEUTRAL | dict(Bangs=0))
  on = np.ones(30, np.float32)
  seen = locate(plain, 64).visibility
  dark = locate(plain | {"Eyeglasses": on, "lens_dark": on}, 64).visibility
  veil = {"cover": on, "cover_y": 0.4 * on}
  veiled = locate(plain | veil, 64).visibility
  eye, mouth = _at("left_eye"), _at("mouth_center")
  assert np.all(seen[:, [eye, mouth]] == 1)
  assert np.all(dark[:, eye] == 0) and np.all(dark[:, mouth] == 1)
  assert np.all(veiled[:, eye] == 1) and np.all(veiled[:, mouth] == 0)


_REGIONS = {
  "Big_Nose": ("nose", 0.22),
  "Big_Lips": ("mouth_center", 0.22),
  "Bushy_Eyebrows": ("left_brow_center", 0.30),
  "Bangs": ("chin_center", None),
  "Blond_Hair": ("chin_center", None),
  "Smiling": ("mouth_center", 0.42),
  "Eyeglasses": ("left_eye", 0.28),
  "Mouth_Slightly_Open": ("mouth_center", 0.22),
  "Wearing_Hat": ("chin_center", None),
  "Rosy_Cheeks": ("nose", 0.35),
  "Young": ("nose", 0.6),
  "Male": ("nose", 0.7),
}


@pytest.mark.parametrize("name", sorted(_REGIONS))
def test_an_attribute_changes_the_picture_where_it_belongs(name):
  params = _params(24, **NEUTRAL | dict(skin_tone=4))
  off = render(params | {name: np.zeros(24, np.float32)}, 96)
  on = render(params | {name: np.ones(24, np.float32)}, 96)
  change = np.abs(on - off).sum(-1)
  assert np.all(change.max((1, 2)) > 0.15)
  point, reach = _REGIONS[name]
  centres = locate(params, 96).landmarks[:, _at(point)]
  rows, columns = np.mgrid[:96, :96]
  if reach is None:  # hair and hats end above the eyes, or beside them
    assert np.all(change.sum((1, 2)) > 3.0 * change[:, 70:, 30:66].sum((1, 2)))
    return
  for picture, (x, y) in zip(change, centres, strict=True):
    x = 47.5 if name in ("Eyeglasses", "Bushy_Eyebrows") else x
    near = np.hypot(rows - y, columns - x) < reach * 96
    assert picture[near].sum() > 0.8 * picture.sum()


def test_all_attributes_are_named_and_drawn():
  assert set(_REGIONS) == set(factors.ATTRIBUTE_NAMES)


def test_people_differ_in_many_visible_ways():
  """At least 20 factors have two levels that 64 pixels tell apart: 2**20."""
  params = _params(8, **NEUTRAL | dict(Male=1, Bangs=0, noise=0))
  visible = []
  for name, (low, high) in factors.PERSON.items():
    pictures = [
      render(params | {name: np.full(8, value, np.float32)}, 64)
      for value in (low, high)
    ]
    change = np.abs(pictures[0] - pictures[1]).max(-1)
    # A visible factor changes a dozen pixels by a twentieth of the range, in
    # most people.
    if np.median((change > 0.05).sum((1, 2))) >= 12:
      visible.append(name)
  assert len(visible) >= 30, sorted(set(factors.PERSON) - set(visible))


def test_no_two_of_many_people_look_the_same():
  """Compared under the same light, with the same background and pose."""
  ids = np.arange(1500)
  params = sampling.sample_people(0, ids)
  params |= sampling.sample_photographs(0, 0 * ids, 0 * ids)
  params |= {k: np.full(1500, v, np.float32) for k, v in NEUTRAL.items()}
  face = render(params, 32).reshape(1500, -1)
  square = (face**2).sum(1)
  distance = square[:, None] + square[None] - 2.0 * face @ face.T
  np.fill_diagonal(distance, np.inf)
  assert distance.min() / face.shape[1] > 0.02**2


def test_darker_levels_of_skin_are_darker():
  levels = []
  for tone in range(1, 11):
    params = _params(8, **NEUTRAL, skin_tone=tone)
    cheek = locate(params, 64).landmarks[:, _at("nose")] + (8.0, 2.0)
    image = render(params, 64)
    levels.append(
      np.mean([_sample(i, at) for i, at in zip(image, cheek, strict=True)])
    )
  assert np.all(np.diff(levels)[2:] < 0.0)
  assert levels[0] > 3.0 * levels[-1]


def test_light_falls_from_its_side():
  left = render(_params(10, **NEUTRAL | dict(light_x=-1.0)), 64)
  right = render(_params(10, **NEUTRAL | dict(light_x=1.0)), 64)
  change = (right - left)[:, 30:45].mean((1, 3))
  assert np.all(change[:, 18:26].mean(1) < 0.0)
  assert np.all(change[:, 38:46].mean(1) > 0.0)
