"""Masks are read with their polarity and sorted; what is none is refused."""

import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import masks
from jaxpriv.data.masks import HOLES, KEPT
from jaxpriv.data.records import DataError


def test_ratios_of_a_batch():
  keep = np.ones((2, 3, 4, 4), bool)
  keep[1, 2, 0] = False
  expected = [[0, 0, 0], [0, 0, 0.25]]
  np.testing.assert_allclose(masks.hidden_ratio(keep), expected)


def test_the_ends_of_buckets():
  ratios = np.array([0, 0.01, 0.011, 0.1, 0.101, 0.3, 0.6, 0.601, 1])
  expected = [-1, -1, 0, 0, 1, 2, 5, -1, -1]
  np.testing.assert_array_equal(masks.buckets_of(ratios), expected)


def picture(path, white, mode="L"):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = Image.fromarray(white.astype(np.uint8) * 255)
  image.convert(mode).save(path)


@pytest.fixture
def pictures(tmp_path):
  quarter, half = np.zeros((2, 16, 16), bool)
  quarter[:8, :8] = half[:8] = True
  picture(tmp_path / "b.png", quarter)
  picture(tmp_path / "more/a.png", half, "RGB")
  (tmp_path / "read me.txt").write_text("masks")
  return tmp_path


@pytest.mark.parametrize("side", [4, 16, 24])
def test_a_folder_of_pictures(pictures, side):
  found = masks.read_folder(pictures, side, white=HOLES)
  assert found.names == ("b.png", "more/a.png")
  assert list(found.left_out) == ["read me.txt"]
  assert found.keep.dtype == bool
  half = side // 2
  assert not found.keep[0, :half, :half].any()
  assert found.keep[0, half:].all() and found.keep[0, :, half:].all()
  np.testing.assert_allclose(found.hidden, [0.25, 0.5])
  np.testing.assert_array_equal(found.bucket, [2, 4])
  other = masks.read_folder(pictures, side, white=KEPT)
  np.testing.assert_array_equal(other.keep, ~found.keep)
  np.testing.assert_array_equal(other.bucket, [-1, 4])


def test_pixels_are_picked_and_not_mixed(tmp_path):
  white = np.random.default_rng(0).random((16, 16)) < 0.5
  picture(tmp_path / "noise.png", white)
  keep = masks.read_picture(tmp_path / "noise.png", 8, white=KEPT)
  np.testing.assert_array_equal(keep, white[1::2, 1::2])


def test_a_ratio_at_the_end_of_a_bucket_is_in_it(tmp_path):
  for tenths in range(1, 7):
    white = np.zeros((10, 10), bool)
    white[:tenths] = True
    picture(tmp_path / f"{tenths}.png", white)
  found = masks.read_folder(tmp_path, 10, white=HOLES)
  np.testing.assert_array_equal(found.bucket, range(6))


def test_folders_that_will_not_do(pictures):
  empty = pictures / "empty"
  empty.mkdir()
  with pytest.raises(DataError, match="empty holds no picture: give a folder"):
    masks.read_folder(empty, 8, white=HOLES)
  with pytest.raises(DataError, match="cannot be read"):
    masks.read_folder(pictures / "nowhere", 8, white=HOLES)
  bad = pictures / "bad.png"
  bad.write_bytes((pictures / "b.png").read_bytes()[:40])
  with pytest.raises(DataError, match=r"bad\.png.*Replace this file"):
    masks.read_folder(pictures, 8, white=HOLES)
  for white, what in ((0, "hides no"), (1, "hides every")):
    picture(bad, np.full((16, 16), white))
    with pytest.raises(DataError, match=rf"bad\.png {what} pixel: choose"):
      masks.read_folder(pictures, 8, white=HOLES)
  picture(bad, np.eye(16)[:12])
  with pytest.raises(DataError, match=r"bad\.png is 16 x 12 pixels: cut it"):
    masks.read_folder(pictures, 8, white=HOLES)


@pytest.mark.parametrize("keep,what", [
  (np.eye(4), r"is 4 x 4 and the images are 8 x 8 pixels"),
  (np.eye(8)[None], r"is 1 x 8 x 8"),
  (np.eye(8) * 255, "holds other values"),
  (np.full((8, 8), np.nan), "holds other values"),
  (np.zeros((8, 8), bool), "hides every pixel"),
  (np.ones((8, 8)), "hides no pixel"),
])  # fmt: skip
def test_masks_that_will_not_do(keep, what):
  with pytest.raises(DataError, match=f"template {what}"):
    masks.check_mask(keep, 8, "template")
  masks.check_mask(np.eye(8), 8)
