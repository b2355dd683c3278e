"""Weights: a manifest and its bytes, the cache folder, what is missing."""

import json

import numpy as np
import pytest

from jaxpriv.data import pretrained
from jaxpriv.errors import UserError

EIGHT = np.array([[0, 255, 100], [1, 2, 3]], np.uint8)
HALF = np.array([0.5, -2], np.float16)
FULL = np.array([1.25], np.float32)
WHOLE = np.array([1, 2], np.int32)
BYTES = b"".join(a.tobytes() for a in (EIGHT, HALF, FULL, WHOLE))
ENTRIES = [
  {
    "name": "a/kernel",
    "shape": [2, 3],
    "dtype": "float32",
    "quantization": {"dtype": "uint8", "scale": 0.1, "min": -5.0},
  },
  {
    "name": "a/bias",
    "shape": [2],
    "dtype": "float32",
    "quantization": {"dtype": "float16", "original_dtype": "float32"},
  },
  {"name": "b", "shape": [1], "dtype": "float32"},
  {"name": "axes", "shape": [2], "dtype": "int32"},
]


def _manifest(entries=ENTRIES):
  return json.dumps([{"weights": entries, "paths": ["x.bin"]}]).encode()


@pytest.fixture
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv(pretrained.CACHE_VARIABLE, str(tmp_path / "cache"))
  return tmp_path / "cache"


def _check(numbers):
  assert set(numbers) == {"a/kernel", "a/bias", "b", "axes"}
  np.testing.assert_allclose(
    numbers["a/kernel"], EIGHT * 0.1 - 5.0, rtol=1e-6, atol=1e-6
  )
  np.testing.assert_array_equal(numbers["a/bias"], [0.5, -2])
  np.testing.assert_array_equal(numbers["b"], [1.25])
  np.testing.assert_array_equal(numbers["axes"], [1, 2])
  assert all(
    numbers[name].dtype == np.float32 for name in ("a/kernel", "a/bias", "b")
  )


def test_numbers_of_every_type_are_restored():
  _check(pretrained.restored(pretrained.parse(_manifest(), BYTES, "x.json")))


def test_a_model_is_read_like_a_manifest():
  model = {"modelTopology": {}, "weightsManifest": json.loads(_manifest())}
  arrays = pretrained.parse(json.dumps(model).encode(), BYTES, "x.json")
  _check(pretrained.restored(arrays))


@pytest.mark.parametrize("data", (BYTES[:-1], BYTES + b"\0", b""))
def test_a_manifest_that_does_not_fit_its_bytes_is_refused(data):
  with pytest.raises(
    UserError, match="x.json describes 22 bytes.*launch.fetch"
  ):
    pretrained.parse(_manifest(), data, "x.json")


@pytest.mark.parametrize(
  "manifest",
  (
    b"no JSON",
    b"{}",
    b"[1]",
    _manifest([{"name": "a", "shape": [2], "dtype": "complex64"}]),
    _manifest([{"name": "a", "dtype": "float32"}]),
  ),
)
def test_what_is_no_manifest_is_refused(manifest):
  with pytest.raises(UserError, match="x.json is not a manifest.*launch.fetch"):
    pretrained.parse(manifest, BYTES, "x.json")


def test_what_is_saved_is_loaded(cache):
  arrays = pretrained.parse(_manifest(), BYTES, "x.json")
  path = pretrained.path_of("faceres")
  assert path.parent == cache
  assert not pretrained.is_here("faceres")
  pretrained.save(arrays, path)
  assert pretrained.is_here("faceres")
  _check(pretrained.load("faceres"))
  assert [p.name for p in cache.iterdir()] == [path.name]


def test_missing_weights_are_said_in_one_line(cache):
  with pytest.raises(UserError) as error:
    pretrained.load("dlib")
  assert "run python -m launch.fetch" in str(error.value)
  assert "\n" not in str(error.value)
  assert pretrained.missing() == list(pretrained.WEIGHTS)


@pytest.mark.parametrize(
  "content", (b"", b"PK\x03\x04 and no more", b"\x93NUMPY")
)
def test_a_broken_file_is_said_to_be_broken(cache, content):
  path = pretrained.path_of("dlib")
  path.parent.mkdir()
  path.write_bytes(content)
  with pytest.raises(UserError, match="delete it and run python"):
    pretrained.load("dlib")


def test_objects_are_not_unpickled(cache):
  path = pretrained.path_of("dlib")
  path.parent.mkdir()
  np.savez(path, fc=np.array([{}], dtype=object))
  with pytest.raises(UserError, match="cannot be read"):
    pretrained.load("dlib")


def test_an_unknown_network_is_refused_with_those_there_are():
  with pytest.raises(UserError, match="'arcface'; there are faceres, dlib"):
    pretrained.load("arcface")


@pytest.mark.parametrize("name", pretrained.WEIGHTS)
def test_terms_say_who_on_what_and_the_licence(name):
  terms = pretrained.terms(name)
  assert "trained by" in terms and "licence: " in terms
  assert "\n" not in terms
