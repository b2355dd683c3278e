"""Decodes photographs: header first, pixels only at the scale they are needed.

`open_image` reads a header, so that a caller can work out from the size how
much of the resolution it needs before `decode` spends time on the pixels.
"""

import functools
import io
import os
import pathlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxpriv.data.records import UnreadableImageError

# Formats that are read. Pillow knows others, some of which have it start a
# program (EPS) or are no pictures. MPO, of stereo cameras, is a JPEG first.
FORMATS = ("AVIF", "BMP", "DDS", "DIB", "GIF", "ICO", "JPEG", "JPEG2000",
           "PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "SUN", "TGA", "TIFF",
           "WEBP")  # fmt: skip
# How the names of photographs end, those of cameras and telephones that cannot
# be read included: such a file is an unreadable photograph.
EXTENSIONS = frozenset((
  ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".bmp",
  ".dib", ".webp", ".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm", ".gif",
  ".jp2", ".j2k", ".jpx", ".jpf", ".avif", ".tga", ".pcx", ".psd", ".qoi",
  ".sgi", ".ras", ".ico", ".dds", ".heic", ".heif", ".jxl", ".arw", ".cr2",
  ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2",
))  # fmt: skip
# How the files of such formats begin, whatever they are called.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0",
               b"MM\0*", b"\0\0\0\x0cjP  ", b"qoif", b"8BPS")  # fmt: skip
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1")  # after "ftyp"

_ORIENTATION_TAG = 0x0112
# Where Pillow keeps what may hold an orientation.
_METADATA = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
_TRANSPOSE = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}


def open_image(file: str | os.PathLike | bytes, name: str = "") -> Image.Image:
  """Opens an image without decoding it; `file` is a path or encoded bytes.

  Raises:
    UnreadableImageError: there is no such file, or it is not an image.
  """
  name = name or ("image" if isinstance(file, bytes) else str(file))
  try:
    if not isinstance(file, bytes) and not os.path.isfile(file):
      # A pipe would be waited for.
      what = "is not a file" if os.path.exists(file) else "does not exist"
      raise UnreadableImageError(f"{name}: the file {what}")
    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    return Image.open(stream, formats=_formats())
  except UnreadableImageError:
    raise
  except UnidentifiedImageError as error:
    raise UnreadableImageError(
      f"{name}: not an image, or of a format that cannot be read"
    ) from error
  except Exception as error:  # decoders raise whatever they like
    raise UnreadableImageError(f"{name}: {_reason(error)}") from error


@functools.cache
def _formats() -> tuple[str, ...]:
  """Those of `FORMATS` that this build of Pillow can read."""
  Image.init()
  return tuple(name for name in FORMATS if name in Image.OPEN)


def is_photograph(file: pathlib.Path) -> bool:
  """Whether a file is one by its name, or else by how it begins.

  Raises:
    OSError: its name does not tell, and it cannot be read.
  """
  if file.suffix.lower() in EXTENSIONS:
    return True
  with open(file, "rb") as stream:
    start = stream.read(16)
  if start[:4] == b"RIFF":
    return start[8:12] == b"WEBP"
  if start[4:8] == b"ftyp":
    return start[8:12] in _BRANDS
  if start[:2] == b"BM":  # so may a text; these bytes of a picture are zero
    return start[6:10] == bytes(4)
  return start.startswith(_BEGINNINGS)


def upright_size(image: Image.Image) -> tuple[int, int]:
  """Width and height as a viewer shows the image, its EXIF turn applied."""
  if image.format == "TIFF" and _tag(image) >= 5:
    # Pillow will turn it; some versions tell the size before the turn already.
    width, height = (image.tag_v2.get(tag, 0) for tag in (256, 257))  # type: ignore[attr-defined]
    return height, width
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
  except Exception as error:  # decoders raise whatever they like
    name = name or getattr(image, "filename", "") or "image"
    raise UnreadableImageError(f"{name}: {_reason(error)}") from error
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
  """How the decoded pixels lie: 1 to 8, as EXIF counts."""
  # Only files with metadata are queried: getexif costs more than a header. And
  # Pillow turns the pixels of a TIFF itself.
  if image.format != "TIFF" and any(key in image.info for key in _METADATA):
    return _tag(image)
  return 1


def _tag(image: Image.Image) -> int:
  """The orientation that metadata name; 1 where they name none, or nonsense."""
  try:
    value = image.getexif().get(_ORIENTATION_TAG, 1)
  except Exception:  # an unreadable tag is no reason to lose the photograph
    return 1
  return value if isinstance(value, int) and value in range(1, 9) else 1


def _reason(error: Exception) -> str:
  return str(error) or type(error).__name__


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
