"""Standard streams that print what they can, and never end a program.

A character that the terminal's encoding lacks is written in ASCII, and what
nobody reads any more, as behind `| head`, is dropped.
"""

import codecs
import os
import sys
import unicodedata
from typing import Any

PLAIN = {
  "✓": "+",
  "✕": "x",
  "×": "x",
  "–": "-",
  "—": "-",
  "−": "-",
  "∞": "inf",
  "≤": "<=",
  "≥": ">=",
  "°": " deg",
  "…": "...",
  "’": "'",
  "‘": "'",
  "“": '"',
  "”": '"',
  "•": "*",
  "·": ".",
  "─": "-",
  "━": "-",
  "│": "|",
  "╺": "-",
  "╸": "-",
}
HANDLER = "jaxpriv.plain"


def plain(text: str) -> str:
  """The text in ASCII; what has no likeness there becomes "?"."""
  out = []
  for character in text:
    if character.isascii():
      out.append(character)
      continue
    parts = unicodedata.normalize("NFKD", character)
    like = "".join(part for part in parts if part.isascii())
    out.append(PLAIN.get(character) or like or "?")
  return "".join(out)


def forgiving() -> None:
  """Makes standard output and errors of this process so."""
  codecs.register_error(HANDLER, _replace)
  for name in ("stdout", "stderr"):
    stream = getattr(sys, name)
    if stream is None or isinstance(stream, Forgiving):
      continue
    if hasattr(stream, "reconfigure"):
      stream.reconfigure(errors=HANDLER)
    setattr(sys, name, Forgiving(stream))


def _replace(error: UnicodeError) -> tuple[str, int]:
  if not isinstance(error, UnicodeEncodeError):
    raise error
  return plain(error.object[error.start : error.end]), error.end


class Forgiving:
  """A text stream whose reader may go away."""

  def __init__(self, stream: Any):
    self._stream = stream

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)

  def write(self, text: str) -> int:
    try:
      return self._stream.write(text)
    except BrokenPipeError:
      self._drop()
      return len(text)

  def flush(self) -> None:
    try:
      self._stream.flush()
    except BrokenPipeError:
      self._drop()

  def _drop(self) -> None:
    """Sends this stream, and what is still in its buffer, nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, self._stream.fileno())
    os.close(nowhere)
