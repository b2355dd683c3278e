"""Every kind of image file becomes upright RGB, or is named as unreadable."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, TiffImagePlugin

from jaxpriv.data import images
from jaxpriv.data.records import UnreadableImageError


def _decoded(image: Image.Image, image_format: str, **options) -> np.ndarray:
  buffer = io.BytesIO()
  image.save(buffer, image_format, **options)
  return np.asarray(images.decode(images.open_image(buffer.getvalue(), "x")))


XMP = (
  '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/'
  '1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/'
  'tiff/1.0/" tiff:Orientation="{}"/></rdf:RDF></x:xmpmeta>'
)


def _tagged(image_format, tagging, orientation):
  """Options of Pillow that save an orientation."""
  if tagging == "exif":
    exif = Image.Exif()
    exif[0x0112] = orientation
    return dict(exif=exif)
  text = XMP.format(orientation)
  if image_format == "png":
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", text)
    return dict(pnginfo=info)
  if image_format == "tiff":
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[700], directory.tagtype[700] = text.encode(), 1
    return dict(tiffinfo=directory)
  return dict(xmp=text.encode())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("tagging", ["exif", "xmp"])
@pytest.mark.parametrize(
  "image_format", ["avif", "jpeg", "mpo", "png", "tiff", "webp"]
)
def test_every_format_is_turned_once(image_format, tagging, orientation):
  upright = np.zeros((16, 24, 3), np.uint8)
  upright[:8, :8] = (255, 0, 0)
  upright[:8, 16:] = (0, 255, 0)
  twin = _decoded(Image.fromarray(upright), "png")
  stored = Image.fromarray(upright)
  if orientation > 1:
    stored = stored.transpose(Image.Transpose[UNDO[orientation]])
  buffer = io.BytesIO()
  stored.save(
    buffer, image_format, **_tagged(image_format, tagging, orientation)
  )
  image = images.open_image(buffer.getvalue())
  assert images.upright_size(image) == (24, 16)
  decoded = np.asarray(images.decode(image))
  assert images.upright_size(image) == (24, 16)  # and after decoding
  assert decoded.shape == twin.shape
  # The formats that lose detail err at the borders of colours.
  assert np.abs(decoded.astype(int) - twin).mean() < 12


@given(
  st.sampled_from([1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 99]),
  st.binary(min_size=4, max_size=4),
  st.sampled_from([0, 1, 2, 7, 2**31]),
)
@settings(max_examples=80, deadline=None)
def test_no_tag_ends_a_run(kind, value, count):
  """An orientation of any type: it is honoured, or the image is upright."""
  entry = struct.pack("<HHI4s", 0x0112, kind, count, value)
  exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0"
  buffer = io.BytesIO()
  Image.new("RGB", (24, 16)).save(buffer, "jpeg", exif=exif)
  image = images.open_image(buffer.getvalue())
  size = images.upright_size(image)
  assert size in ((24, 16), (16, 24))
  assert images.decode(image).size == size


def test_formats_that_start_programs_are_not_read():
  header = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
  with pytest.raises(UnreadableImageError, match="x: not an image"):
    images.open_image(header + b"showpage\n", "x")


@given(
  st.sampled_from(["jpeg", "png", "webp", "tiff", "gif", "bmp", "ppm"]),
  st.data(),
)
@settings(max_examples=150, deadline=None)
def test_a_damaged_image_is_read_or_named(image_format, data):
  buffer = io.BytesIO()
  Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(
    buffer, image_format
  )
  content = bytearray(buffer.getvalue())
  for _ in range(data.draw(st.integers(1, 4))):
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
  end = data.draw(st.integers(0, len(content)))
  try:
    image = images.open_image(bytes(content[:end]), "x")
    width, height = images.upright_size(image)
    decoded = images.decode(image, name="x")
    assert decoded.mode == "RGB" and decoded.size == (width, height)
  except UnreadableImageError as error:
    assert str(error).startswith("x: ")


UNDO = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM",
        5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE",
        8: "ROTATE_270"}  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation):
  upright = np.zeros((16, 24, 3), np.uint8)
  upright[:8, :8] = (255, 0, 0)
  upright[:8, 16:] = (0, 255, 0)
  stored = Image.fromarray(upright)
  # The pixels as a turned camera would have stored them.
  if orientation > 1:
    stored = stored.transpose(Image.Transpose[UNDO[orientation]])
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
