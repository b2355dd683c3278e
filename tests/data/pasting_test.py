"""Faces go back where they came from, and pixels under them play no part."""

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import ndimage

from jaxpriv.data import alignment, pasting
from jaxpriv.data.pasting import Window

SIZE = 16


def turned(scale, angle=0.3, x=0.0, y=0.0):
  """A similarity that takes (x, y) of a photograph to the crop's middle."""
  c, s = scale * np.cos(angle), scale * np.sin(angle)
  linear = np.array([[c, -s], [s, c]])
  shift = SIZE / 2 - linear @ (x, y)
  return np.concatenate([linear, shift[:, None]], 1)


def inputs(side=64, rows=2, seed=0, channels=3):
  rng = np.random.default_rng(seed)
  faces = rng.random((rows, SIZE, SIZE, channels)).astype(np.float32)
  if channels == 4:
    faces[..., :3] *= faces[..., 3:]
  patches = rng.random((rows, side, side, 3)).astype(np.float32)
  matrix = turned(0.4, x=side / 2, y=side / 2)
  alpha = pasting.opacity(matrix, SIZE, Window(0, 0, side))
  stack = lambda x: jnp.asarray(np.stack([x] * rows), jnp.float32)
  known = jnp.ones((rows, side, side), bool)
  return (
    jnp.asarray(faces),
    stack(matrix),
    jnp.asarray(patches),
    known,
    (stack(alpha)),
  )


@hypothesis.given(
  st.floats(0.05, 3), st.floats(-3, 3), st.floats(-20, 60), st.floats(-20, 60)
)
@hypothesis.settings(deadline=None, max_examples=60)
def test_a_window_holds_the_face_and_a_rim(scale, angle, x, y):
  matrix = turned(scale, angle, x, y)
  place = pasting.window(matrix, SIZE)
  assert place.side & (place.side - 1) == 0
  corners = np.array([[0, 0], [SIZE, 0], [0, SIZE], [SIZE, SIZE]], float)
  there = alignment.transform_points(alignment.invert(matrix), corners)
  there -= (place.x, place.y)
  assert there.min() > 0.5 and there.max() < place.side - 0.5
  alpha = pasting.opacity(matrix, SIZE, place)
  edge = np.concatenate([alpha[[0, -1]].ravel(), alpha[:, [0, -1]].ravel()])
  assert not edge.any() and alpha.max() > 0


def test_a_face_that_is_too_large_is_refused():
  with pytest.raises(ValueError, match="larger than 8192"):
    pasting.window(turned(SIZE / 9000), SIZE)


@hypothesis.given(st.integers(-20, 20), st.integers(-20, 20))
@hypothesis.settings(deadline=None, max_examples=40)
def test_a_window_partly_outside_is_cut_and_put_back(x, y):
  pixels = np.random.default_rng(0).integers(0, 256, (11, 13, 3), np.uint8)
  place = Window(x, y, 16)
  patch, there = pasting.cut(pixels, place), pasting.inside((11, 13), place)
  rows, columns = np.mgrid[y : y + 16, x : x + 16]
  expected = (rows >= 0) & (rows < 11) & (columns >= 0) & (columns < 13)
  np.testing.assert_array_equal(there, expected)
  np.testing.assert_array_equal(
    patch[there], pixels[rows[expected], columns[expected]]
  )
  again = np.zeros_like(pixels)
  pasting.put(again, place, patch)
  mine = np.zeros(pixels.shape[:2], bool)
  mine[rows[expected], columns[expected]] = True
  np.testing.assert_array_equal(again, np.where(mine[..., None], pixels, 0))


def test_opacity_is_that_of_a_rounded_square():
  place = Window(0, 0, 64)
  plain = turned(SIZE / 64, 0.0, 32, 32)
  alpha = pasting.opacity(plain, SIZE, place)
  assert alpha[32, 32] == 1 and alpha[0, 0] == 0 and alpha[2, 32] > 0
  # |x|^4 + |y|^4 <= 1 has an area of 0.927 of the square.
  np.testing.assert_allclose((alpha > 0).mean(), 0.927, atol=0.02)
  seen = pasting.opacity(plain, SIZE, place, visible=("eyes", "mouth"))
  points = np.round(alignment.arcface_template(64) - 0.5).astype(int)
  for x, y in points[[0, 1]]:
    assert seen[y, x] == 0 and alpha[y, x] == 1
  mouth = points[3:].mean(0).astype(int)
  assert seen[mouth[1], mouth[0]] == 0
  assert seen[points[2, 1], points[2, 0]] == 1
  mouth_alone = pasting.opacity(plain, SIZE, place, visible=("mouth",))
  assert mouth_alone[points[0, 1], points[0, 0]] == 1


def test_a_head_is_covered_by_an_egg():
  place = Window(0, 0, 64)
  plain = turned(SIZE / 64, 0.0, 32, 32)
  alpha = pasting.opacity(plain, SIZE, place, "head")
  # (|x| / 0.75)^2.5 + |y|^2.5 <= 1 has an area of 0.634 of the square.
  np.testing.assert_allclose((alpha > 0).mean(), 0.634, atol=0.02)
  assert (alpha > 0)[:, 32].sum() >= 62 and (alpha > 0)[32].sum() in (47, 48)
  seen = pasting.opacity(plain, SIZE, place, "head", ("eyes",))
  points = np.round(alignment.template(64, "head") - 0.5).astype(int)
  eyes = points[:2, 1], points[:2, 0]
  assert (seen[eyes] == 0).all() and (alpha[eyes] == 1).all()
  # Eyes of a face alone are larger.
  face = pasting.opacity(plain, SIZE, place)
  shown = pasting.opacity(plain, SIZE, place, visible=("eyes",))
  assert (seen < alpha).sum() < (shown < face).sum() / 2


def test_an_enlarged_face_is_interpolated_between_its_pixels():
  faces, matrices, *_ = inputs()
  got = pasting.warp(faces, matrices, 64)
  y, x = np.mgrid[:64, :64] + 0.5
  matrix = np.asarray(matrices[0], np.float64)
  u, v = np.einsum("ij,jhw->ihw", matrix, np.stack([x, y, np.ones_like(x)]))
  for row in range(2):
    for channel in range(3):
      expected = ndimage.map_coordinates(
        np.asarray(faces[row, ..., channel], np.float64),
        (v - 0.5, u - 0.5), order=1, mode="nearest",
      )  # fmt: skip
      np.testing.assert_allclose(got[row, ..., channel], expected, atol=1e-4)


def test_fine_stripes_do_not_alias_where_a_face_becomes_small():
  stripes = jnp.broadcast_to(jnp.arange(64.0) % 2, (1, 64, 64))
  faces = jnp.stack([stripes] * 3, -1)
  matrix = jnp.asarray([[[4.0, 0, 0.3], [0, 4.0, 0.3]]])
  small = np.asarray(pasting.warp(faces, matrix, 16))
  assert np.abs(small[:, 1:-1, 1:-1] - 0.5).max() < 0.1


@pytest.mark.parametrize(
  "blend, channels", [("feather", 4), *((b, 3) for b in pasting.BLENDS)]
)
def test_pixels_under_a_face_play_no_part(blend, channels):
  faces, matrices, patches, known, alpha = inputs(channels=channels)
  pasted = pasting.paste(faces, matrices, patches, known, alpha, blend)
  covered = np.asarray(alpha) > 0
  np.testing.assert_array_equal(
    np.asarray(pasted)[~covered], np.asarray(patches)[~covered]
  )
  other = jnp.where(covered[..., None], 1 - patches, patches)
  again = pasting.paste(faces, matrices, other, known, alpha, blend)
  np.testing.assert_array_equal(
    np.asarray(pasted)[covered], np.asarray(again)[covered]
  )
  # Nor do those that are still to be covered by another face.
  hidden = jnp.zeros_like(known).at[:, :, 40:].set(True)
  beside = jnp.where(hidden[..., None] & ~covered[..., None], 0.1, patches)
  one, two = (
    np.asarray(pasting.paste(faces, matrices, p, ~hidden, alpha, blend))
    for p in (patches, beside)
  )
  np.testing.assert_array_equal(one[covered], two[covered])
  if channels == 3:  # an opaque face is seen as it is in its middle
    seen = pasting.warp(faces, matrices, 64)
    if blend == "feather":
      full = np.asarray(alpha) == 1
      np.testing.assert_allclose(
        np.asarray(pasted)[full], np.clip(seen, 0, 1)[full], atol=1e-5
      )


def test_surroundings_show_through_what_is_not_opaque():
  faces, matrices, patches, known, alpha = inputs(channels=4)
  nothing = jnp.zeros_like(faces)
  grey = jnp.full_like(patches, 0.25)
  pasted = pasting.paste(nothing, matrices, grey, known, alpha)
  np.testing.assert_allclose(pasted, 0.25, atol=1e-6)


def test_a_matched_face_has_the_colours_of_what_it_covers():
  faces, matrices, _, known, alpha = inputs()
  rng = np.random.default_rng(1)
  dark = jnp.asarray(0.2 + 0.05 * rng.random((2, 64, 64, 3)), jnp.float32)
  plain = pasting.paste(faces, matrices, dark, known, alpha)
  matched = pasting.paste(faces, matrices, dark, known, alpha, match=True)
  middle = np.asarray(alpha) == 1
  assert np.asarray(plain)[middle].mean() > 0.4
  assert abs(np.asarray(matched)[middle].mean() - 0.225) < 0.02


@hypothesis.given(
  st.lists(
    st.tuples(
      st.integers(0, 99), st.integers(0, 99), st.sampled_from([8, 16, 32])
    ),
    max_size=9,
  )
)
@hypothesis.settings(deadline=None)
def test_no_two_windows_of_a_round_lie_over_each_other(places):
  places = [Window(*place) for place in places]
  turns = pasting.rounds(places)
  assert sorted(sum(turns, [])) == list(range(len(places)))
  canvas = np.full((140, 140), -1)
  for number, turn in enumerate(turns):
    for i in turn:
      x, y, side = places[i]
      under = canvas[y : y + side, x : x + side]
      assert (under < number).all()  # nothing of this round or a later one
      # Whoever was there before is no larger.
      canvas[y : y + side, x : x + side] = number
  sides = {i: places[i].side for i in range(len(places))}
  for i in sides:
    for j in sides:
      first = next(n for n, turn in enumerate(turns) if i in turn)
      second = next(n for n, turn in enumerate(turns) if j in turn)
      if sides[i] < sides[j] and pasting._overlap(places[i], places[j]):
        assert first < second
