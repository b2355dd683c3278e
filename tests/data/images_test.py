"""Every kind of image file becomes upright RGB, or is named as unreadable."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxpriv.data import images
from jaxpriv.data.records import UnreadableImageError


def _decoded(image: Image.Image, image_format: str, **options) -> np.ndarray:
  buffer = io.BytesIO()
  image.save(buffer, image_format, **options)
  return np.asarray(images.decode(images.open_image(buffer.getvalue(), "x")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation):
  upright = np.zeros((16, 24, 3), np.uint8)
  upright[:8, :8] = (255, 0, 0)
  upright[:8, 16:] = (0, 255, 0)
  stored = Image.fromarray(upright)
  # The pixels as a turned camera would have stored them.
  undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM",
          5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE",
          8: "ROTATE_270"}  # fmt: skip
  if orientation > 1:
    stored = stored.transpose(Image.Transpose[undo[orientation]])
  exif = Image.Exif()
  exif[0x0112] = orientation
  buffer = io.BytesIO()
  stored.save(buffer, "jpeg", exif=exif, quality=95, subsampling=0)
  image = images.open_image(buffer.getvalue())
  assert images.upright_size(image) == (24, 16)
  decoded = np.asarray(images.decode(image)).astype(int)
  assert np.abs(decoded - upright).max() < 30


def test_grey_palette_and_black_and_white_become_rgb():
  gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
  expected = np.repeat(gray[..., None], 3, 2)
  image = Image.fromarray(gray)
  np.testing.assert_array_equal(_decoded(image, "png"), expected)
  palette = Image.fromarray(expected).quantize(256)
  assert np.abs(_decoded(palette, "png").astype(int) - expected).max() <= 2
  bits = _decoded(image.convert("1"), "png")
  assert set(np.unique(bits)) <= {0, 255} and bits.shape == (16, 16, 3)


def test_sixteen_bits_keep_their_high_byte():
  values = (np.arange(256) * 257).astype(np.uint16).reshape(16, 16)
  decoded = _decoded(Image.fromarray(values), "png")
  np.testing.assert_array_equal(decoded[..., 1], np.arange(256).reshape(16, 16))


def test_transparent_pixels_are_black():
  rgba = np.full((4, 4, 4), 255, np.uint8)
  rgba[:2, :, 3] = 0
  decoded = _decoded(Image.fromarray(rgba), "png")
  assert decoded[:2].max() == 0 and decoded[2:].min() == 255
  gray_alpha = Image.fromarray(rgba).convert("LA")
  np.testing.assert_array_equal(_decoded(gray_alpha, "png"), decoded)


def test_cmyk_becomes_rgb():
  red = Image.new("RGB", (16, 16), (200, 30, 40)).convert("CMYK")
  decoded = _decoded(red, "jpeg", quality=95)
  assert np.abs(decoded.astype(int) - (200, 30, 40)).max() < 8


def test_what_cannot_be_read_is_named(tmp_path):
  text = tmp_path / "notes.jpg"
  text.write_text("not a picture")
  with pytest.raises(UnreadableImageError, match=r"notes\.jpg: not an image"):
    images.open_image(text)
  with pytest.raises(UnreadableImageError, match="gone.jpg.*does not exist"):
    images.open_image(tmp_path / "gone.jpg")
  pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
  for image_format in ("jpeg", "png"):
    data = images.encode(pixels, image_format)
    image = images.open_image(data[: len(data) // 2], "half.img")
    with pytest.raises(UnreadableImageError, match=r"half\.img: .*truncated"):
      images.decode(image, name="half.img")
  empty = tmp_path / "empty.png"
  empty.touch()
  with pytest.raises(UnreadableImageError, match="empty.png"):
    images.open_image(empty)
