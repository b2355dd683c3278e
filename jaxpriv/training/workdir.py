"""A run directory: its files, and whether a run may go on in it.

```
workdir/config.json            the resolved config
workdir/people.json            whom and what it has learned from; see `people`
workdir/writer.lock            while it is written; see `lock`
workdir/noise_secret           of a private run, until it is finished
workdir/phases/<name>/         checkpoints
workdir/metrics/<name>.jsonl   one line a logged step; TensorBoard events beside
workdir/samples/<name>/        PNG grids
workdir/evaluation/            metrics.json, report.html, the attackers' phases
```
"""

import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

import jaxpriv
from jaxpriv import files
from jaxpriv.data.records import DataError
from jaxpriv.data.sources import words
from jaxpriv.errors import UserError
from jaxpriv.files import DamagedError
from jaxpriv.training import checkpoints

# Parts of a config that may change between calls on one run directory: they
# say nothing about what is trained.
MUTABLE = ("evaluation", "attacks", "controls", "release", "train")

# Settings of the data that may change, too: where they lie, how they are read.
# The people in them are compared instead.
READING = ("path", "cache", "num_workers", "max_bad_share", "num_people")

# A file from which noise and batches of private phases come; never shared.
SECRET = "noise_secret"

# Options of a phase that decide what its checkpoints hold, and one that says
# nothing of what is trained.
STRUCTURE = ("optimizer", "ema")
CADENCE = "evaluate_every"

# Settings that name folders; others may see the last part of the name.
PATHS = ("data.path", "data.pools", "pretrained", "model.folder")

# Numbers that JSON does not have: they are written as strings.
INFINITE = ("Infinity", "-Infinity", "NaN")

# The version that wrote a config.json which does not say so.
OLDEST = "0.1"


class ConfigMismatchError(UserError, ValueError):
  """The run directory holds a run of another config."""


def check_config(workdir: epath.PathLike, config: ConfigDict) -> None:
  """Checks a config against what was trained with the one that is there.

  The options of a phase may change until it is finished, but for what decides
  the shape of a checkpoint; `people.check_same` compares people.

  Raises:
    ConfigMismatchError: the run there was made with other settings, or by
      another version of jaxpriv.
    DamagedError: config.json cannot be read.
  """
  path = epath.Path(workdir) / "config.json"
  if not path.exists():
    return
  old, new = read_json(path, ("data", "phases")), _plain(config)
  done = {name: steps_done(workdir, name) for name in old["phases"]}
  if not any(done.values()):
    return
  _check_version(path, old.pop("version", OLDEST))
  changes = list(_differences(_fixed(old, new, done), _fixed(new, old, done)))
  if changes:
    listed = "\n  ".join(changes)
    raise ConfigMismatchError(
      f"{workdir} holds a run of another config:\n  {listed}\n"
      "Use another --workdir, or the settings of that run."
    )


def _fixed(tree: dict, other: dict, done: Mapping[str, int]) -> dict:
  """The settings that must not change, given the steps done of each phase."""
  fixed = {k: v for k, v in tree.items() if k not in MUTABLE}
  fixed["data"] = {k: v for k, v in tree["data"].items() if k not in READING}
  fixed["phases"] = {}
  for name, options in tree["phases"].items():
    theirs = other["phases"].get(name, options)
    if done.get(name, 0) >= min(options["steps"], theirs["steps"]):
      fixed["phases"][name] = {k: v for k, v in options.items() if k != CADENCE}
    elif done.get(name):
      fixed["phases"][name] = {k: options.get(k) for k in STRUCTURE}
    else:
      fixed["phases"][name] = {}
  return fixed


def secret(workdir: epath.PathLike) -> bytes:
  """16 random bytes that noise and batches of private phases are drawn from.

  They are no setting, as with them anybody can subtract the noise. They are
  made when a run first needs them, kept beside it until it is finished (see
  `forget_secret`), and read again to resume. All processes read one file.

  Raises:
    DamagedError: the file is.
  """
  path = epath.Path(workdir) / SECRET
  if jax.process_index() == 0 and not path.exists():
    files.atomic_write(path, secrets.token_hex(16), mode=0o600)
  multihost_utils.sync_global_devices("secret")
  text = path.read_text()
  if not re.fullmatch("[0-9a-f]{32}", text):
    raise DamagedError(
      f"{path} is damaged: the noise of this run comes from it, so that nobody"
      " can go on with it. Bring the file back, or train in another --workdir"
    )
  return bytes.fromhex(text)


def forget_secret(workdir: epath.PathLike) -> None:
  """Removes the secret: a finished run needs no noise, and may be shared."""
  path = epath.Path(workdir) / SECRET
  multihost_utils.sync_global_devices("secret forgotten")
  if jax.process_index() == 0 and path.exists():
    path.unlink()


def forget_copies(workdir: epath.PathLike, names: Iterable[str]) -> None:
  """Removes what untrained phases copied from an earlier config.pretrained."""
  if jax.process_index() == 0:
    for name in names:
      directory = checkpoints.phase_directory(workdir, name)
      if directory.exists():
        directory.rmtree()
  multihost_utils.sync_global_devices("copies forgotten")


def steps_done(workdir: epath.PathLike, name: str) -> int:
  """The newest saved step of a phase; 0 if there is none."""
  directory = checkpoints.phase_directory(workdir, name)
  return checkpoints.latest_step(directory) or 0


def _plain(config: ConfigDict) -> dict[str, Any]:
  """The config in JSON's types; see `INFINITE`."""
  return _loads(config.to_json_best_effort())


def _loads(text: str) -> Any:
  return json.loads(text, parse_constant=str)


def read_json(path: epath.Path, keys: Iterable[str]) -> dict[str, Any]:
  """What `write_json` has written; see `INFINITE`.

  Raises:
    DamagedError: it is no JSON any more, or has not these keys.
  """
  again = "bring it back from a copy, or use another run directory"
  return files.read_json(path, dict, keys, again)


def save_config(workdir: epath.PathLike, config: ConfigDict) -> None:
  """Writes config.json, with the version of jaxpriv; see `check_config`."""
  content = {"version": jaxpriv.__version__, **_plain(config)}
  write_json(epath.Path(workdir) / "config.json", content)


def _check_version(path: epath.Path, version: str) -> None:
  """Raises ConfigMismatchError if that version writes runs in another way."""
  series = lambda text: text.split(".")[:2]
  if series(version) != series(jaxpriv.__version__):
    raise ConfigMismatchError(
      f"{path} was written by jaxpriv {version}, whose runs jaxpriv"
      f" {jaxpriv.__version__} does not read: use that version, or train again"
      " in another --workdir"
    )


def public_config(
  config: ConfigDict, secrets: Iterable[str] = ()
) -> dict[str, Any]:
  """The config as others may see it: no secrets, and no paths of here.

  `config.release.withheld` names the settings that nobody may see, as in
  "model.secret"; they become zero or empty.

  Args:
    config: of a run.
    secrets: further names; see `mechanism.public_config`.

  Raises:
    DataError: there is no setting of that name.
  """
  public = config.to_dict()
  for name in PATHS:
    _change(public, name, _last_part)
  for options in public.get("attacks", {}).values():
    _change(options, "folders", _last_part)
  for name in (*secrets, *words(config.release.withheld)):
    if not _change(public, name, lambda value: type(value)()):
      raise DataError(
        f"config.release.withheld names {name}, and there is no such setting:"
        " what it means to hide would be published"
      )
  return public


def _change(tree: Any, name: str, change: Callable[[Any], Any]) -> bool:
  """Changes a setting in place by its dotted name; False if it is not there."""
  *parents, last = name.split(".")
  for parent in parents:
    tree = tree.get(parent) if isinstance(tree, dict) else None
  if not isinstance(tree, dict) or last not in tree:
    return False
  tree[last] = change(tree[last])
  return True


def _last_part(value: Any) -> Any:
  if isinstance(value, str):
    # PATH=LABELS names two.
    parts = [epath.Path(part).name for part in value.split("=") if part]
    return "=".join(parts)
  return tuple(_last_part(item) for item in value)


def write_json(path: epath.Path, tree: Any) -> None:
  """Written by the first process."""
  if jax.process_index() == 0:
    text = json.dumps(tree, indent=2, allow_nan=False)
    files.atomic_write(path, text + "\n")


def _differences(old: Any, new: Any, name: str = "config") -> Iterator[str]:
  if isinstance(old, dict) and isinstance(new, dict):
    for key in sorted(old.keys() | new.keys()):
      yield from _differences(
        old.get(key, "(absent)"), new.get(key, "(absent)"), f"{name}.{key}"
      )
  elif old != new:
    yield f"{name}: {old} there, {new} now"


def load_config(workdir: epath.PathLike) -> ConfigDict:
  """The resolved config of a run; lists come back as tuples.

  Raises:
    ConfigMismatchError: another version of jaxpriv wrote it.
    DamagedError: it cannot be read.
    FileNotFoundError: there is none.
  """
  path = epath.Path(workdir) / "config.json"
  if not path.exists():
    raise FileNotFoundError(
      f"{path} does not exist: train first, with launch.train"
      f" --workdir={workdir}"
    )

  def tuples(value):
    if isinstance(value, dict):
      return {key: tuples(item) for key, item in value.items()}
    if isinstance(value, list):
      return tuple(tuples(item) for item in value)
    return float(value) if value in INFINITE else value

  content = read_json(path, ("method", "data", "phases"))
  _check_version(path, str(content.pop("version", OLDEST)))
  try:
    return ConfigDict(tuples(content))
  except (TypeError, ValueError) as error:
    raise DamagedError(f"{path} is damaged ({error})") from error
