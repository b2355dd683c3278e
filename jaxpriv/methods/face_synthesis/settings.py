"""Settings that several modules read: domains, and the folder of styles."""

from ml_collections import ConfigDict

from jaxpriv.data.records import DOMAINS
from jaxpriv.data.sources import words
from jaxpriv.errors import SettingError
from jaxpriv.training import extra_folder

STARGAN, REFERENCES = "stargan", "references"  # phases
FOLDER = "config.model.folder"  # of references


def domains(config: ConfigDict) -> tuple[str, ...]:
  """The domains of a config, checked, the target among them."""
  names = words(config.model.domains)
  wrong = [name for name in names if name not in DOMAINS]
  if wrong or len(set(names)) != len(names) or len(names) < 2:
    raise SettingError(
      f"config.model.domains = {names}: name two or more of"
      f" {', '.join(DOMAINS)}, each once"
    )
  if config.model.target not in names:
    raise SettingError(
      f"config.model.target = {config.model.target!r} is none of"
      f" config.model.domains, {', '.join(names)}"
    )
  return names


def references(config: ConfigDict) -> extra_folder.Extra:
  """The references; all of a folder are taken for the target."""
  model = config.model
  # Faces are looked for in people alone.
  faces = model.target == DOMAINS[0]
  return extra_folder.Extra(
    config.data, FOLDER, model.folder, model.most, faces=faces
  )
