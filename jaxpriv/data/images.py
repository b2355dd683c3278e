"""Decodes photographs: header first, pixels only at the scale they are needed.

`open_image` reads a header, so that a caller can work out from the size how
much of the resolution it needs before `decode` spends time on the pixels.
"""

import io
import os
import struct

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxpriv.data.records import UnreadableImageError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm")

_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
_DECODE_ERRORS = (
  OSError,
  SyntaxError,  # Pillow's word for a broken PNG
  ValueError,
  IndexError,
  EOFError,
  struct.error,
  Image.DecompressionBombError,
)


def open_image(file: str | os.PathLike | bytes, name: str = "") -> Image.Image:
  """Opens an image without decoding it; `file` is a path or encoded bytes.

  Raises:
    UnreadableImageError: there is no such file, or it is not an image.
  """
  name = name or str(file)
  try:
    return Image.open(io.BytesIO(file) if isinstance(file, bytes) else file)
  except FileNotFoundError as error:
    raise UnreadableImageError(f"{name}: the file does not exist") from error
  except UnidentifiedImageError as error:
    raise UnreadableImageError(
      f"{name}: not an image, or of a format Pillow cannot read"
    ) from error
  except _DECODE_ERRORS as error:
    raise UnreadableImageError(f"{name}: {error}") from error


def upright_size(image: Image.Image) -> tuple[int, int]:
  """Width and height as a viewer shows the image, its EXIF turn applied."""
  width, height = image.size
  return (height, width) if _orientation(image) >= 5 else (width, height)


def decode(
  image: Image.Image, reduce: float = 1.0, name: str = ""
) -> Image.Image:
  """Decodes to an upright RGB image.

  Args:
    image: an image of `open_image`.
    reduce: the factor by which the caller will shrink the image. A JPEG is then
      decoded at 1/2, 1/4 or 1/8 of its size, never smaller than the caller
      needs.
    name: names the image in errors.

  Returns:
    An RGB image; smaller than `upright_size(image)` where `reduce` allowed it.

  Raises:
    UnreadableImageError: the pixels cannot be decoded.
  """
  try:
    turn = _TRANSPOSE.get(_orientation(image))
    if reduce >= 2 and image.format == "JPEG":
      width, height = image.size
      image.draft(None, (int(width / reduce) + 1, int(height / reduce) + 1))
    image.load()
    rgb = _to_rgb(image)
  except _DECODE_ERRORS as error:
    name = name or getattr(image, "filename", "") or "image"
    raise UnreadableImageError(f"{name}: {error}") from error
  return rgb.transpose(turn) if turn is not None else rgb


def upright(image: Image.Image, reduce: float = 1.0) -> Image.Image:
  """Decodes to an image that can be cut any number of times.

  That of `decode` may still say that it is to be turned, and one that was
  opened and decoded small stays small. Arguments and errors are those of
  `decode`.
  """
  return Image.fromarray(np.asarray(decode(image, reduce)))


def encode(pixels: np.ndarray, image_format: str = "jpeg") -> bytes:
  """Encodes uint8 [H, W, 3] as JPEG of quality 95 or as PNG."""
  buffer = io.BytesIO()
  options = dict(quality=95) if image_format == "jpeg" else {}
  Image.fromarray(pixels).save(buffer, image_format, **options)
  return buffer.getvalue()


def _orientation(image: Image.Image) -> int:
  # Only formats with metadata are queried: getexif costs more than a header.
  if "exif" not in image.info and image.format not in ("TIFF", "MPO"):
    return 1
  return image.getexif().get(_ORIENTATION_TAG, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
  """Any Pillow mode to RGB; 16 bits keep the high byte, alpha is over black."""
  if image.mode == "RGB":
    return image
  if image.mode.startswith("I"):
    values = np.asarray(image).astype(np.int64)
    values = np.clip((values + 128) // 257, 0, 255).astype(np.uint8)
    return Image.fromarray(values).convert("RGB")
  if image.mode == "F":
    raise ValueError("floating-point images have no defined range")
  if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or (
    "transparency" in image.info
  ):
    image = image.convert("RGBA")
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image).convert("RGB")
  return image.convert("RGB")
