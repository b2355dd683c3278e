"""The folder of a release: begun under another name, renamed at the end."""

import json
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from absl import logging
from etils import epath

from jaxpriv import files
from jaxpriv.data.records import DataError
from jaxpriv.release.product import Product

# Written into every release, beside what the products write.
CARD_FILES = ("card.json", "CARD.md")


class Folder(NamedTuple):
  """The folder to make; see `partial` and `journal` for what is beside it."""

  output: epath.Path

  @property
  def partial(self) -> epath.Path:
    """The folder while it is being made."""
    return self.output.parent / f"{self.output.name}.partial"

  @property
  def journal(self) -> epath.Path:
    """A file with the key of the release and the secret of its order.

    It is there before the partial folder and until after the final rename:
    files are never without it and never published with it.
    """
    return self.output.parent / f"{self.output.name}.partial.json"

  def check(self) -> None:
    """Refuses to write over a finished release.

    Raises:
      DataError: there is one.
    """
    if not self.output.exists():
      return
    if not self.partial.exists():  # killed between renaming and removing
      self.journal.unlink(missing_ok=True)
    raise DataError(
      f"{self.output} exists: a finished release is not written over. Remove it"
      " or choose another --output."
    )

  def resume(self, key: Mapping[str, Any]) -> str:
    """Starts the folder, or goes on with an interrupted one of the same key.

    Returns:
      the secret of its order.

    Raises:
      DataError: another release was begun there, or an unknown one.
    """
    if not self.partial.exists():
      secret = secrets.token_hex(32)
      content = {"key": key, "secret": secret}
      files.atomic_write(
        self.journal, json.dumps(content, indent=2), mode=0o600
      )
      self.partial.mkdir(parents=True)
      return secret
    if not self.journal.exists():
      raise DataError(
        f"{self.partial} holds an interrupted release, and {self.journal},"
        f" which says of what, is missing: remove {self.partial} to start anew"
      )
    again = f"remove it and {self.partial} to start anew"
    content = files.read_json(self.journal, dict, ("key", "secret"), again)
    other = [name for name in key if key[name] != content["key"].get(name)]
    if other:
      raise DataError(
        f"{self.partial} holds an interrupted release of other images or"
        f" another run ({', '.join(other)} differ): finish that one or remove"
        " the directory"
      )
    logging.info("going on with %s", self.partial)
    return content["secret"]

  def start(self, products: Iterable[Product]) -> str:
    """Starts the folder anew, without what an interrupted release has left.

    Returns:
      a secret for its order.

    Raises:
      DataError: it holds files that are not of these products.
    """
    products = list(products)
    if self.journal.exists():
      raise DataError(
        f"{self.partial} holds an interrupted release of images: finish that"
        f" one, remove it and {self.journal}, or choose another --output"
      )
    if self.partial.exists():
      ours = CARD_FILES + sum((p.files for p in products), ())
      if not all(path.name.startswith(ours) for path in self.partial.iterdir()):
        nouns = " or ".join(product.noun for product in products)
        raise DataError(
          f"{self.partial} is in the way and holds what is not of {nouns}:"
          " remove it or choose another --output"
        )
      self.partial.rmtree()
    self.partial.mkdir(parents=True)
    return secrets.token_hex(32)

  def publish(self) -> None:
    """Gives the finished folder its name."""
    self.partial.rename(self.output)
    self.journal.unlink(missing_ok=True)
