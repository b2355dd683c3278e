"""Pieces of Markdown, from text that may hold what it would read as markup."""

from collections.abc import Sequence
from typing import Any


def text(value: Any) -> str:
  """Escapes what Markdown would read as markup."""
  line = " ".join(str(value).split())
  return "".join("\\" + c if c in "\\`*_[]<>|#" else c for c in line)


def code(value: Any) -> str:
  """A value in code style."""
  line = " ".join(str(value).split()).replace("`", "'")
  return f"`{line}`"


def bullets(lines: Sequence[str]) -> str:
  return "\n".join(f"- {text(line)}" for line in lines)


def row(cells: Sequence[str]) -> str:
  return "| " + " | ".join(cells) + " |"


def header(*columns: str) -> list[str]:
  return [row(columns), row(["---"] * len(columns))]
