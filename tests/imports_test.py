"""Imports go down only, and the check that says so finds what breaks it."""

import pathlib

import pytest

from tools import check_imports

ROOT = pathlib.Path(__file__).parents[1]

PYPROJECT = """
[project]
dependencies = ["absl-py>=2", "jax>=0.10", "pillow", "tensorflow-datasets"]
"""

BROKEN = [
  ("jaxpriv/models/a.py", "import jaxpriv.data", "data is not below models"),
  ("jaxpriv/models/a.py", "from jaxpriv import training", "training is not"),
  ("jaxpriv/models/a.py", "from ..data import records", "data.records"),
  ("jaxpriv/metrics/a.py", "from jaxpriv.models import b", "not below metrics"),
  (
    "jaxpriv/models/__init__.py",
    "from ..data import b",
    "jaxpriv.data.b: data",
  ),
  ("jaxpriv/training/a.py", "from jaxpriv.methods import b", "not below train"),
  ("jaxpriv/attacks/a.py", "from jaxpriv.methods import b", "not below attack"),
  ("jaxpriv/reports/a.py", "import launch.train", "launch is not below"),
  (
    "jaxpriv/release/a.py",
    "from jaxpriv.attacks import b",
    "not below release",
  ),
  (
    "jaxpriv/release/a.py",
    "from jaxpriv.methods import b",
    "not below release",
  ),
  (
    "jaxpriv/reports/a.py",
    "from jaxpriv.release import b",
    "not below reports",
  ),
  ("jaxpriv/methods/a.py", "from jaxpriv.methods import b", "methods.b: move"),
  ("jaxpriv/methods/a.py", "from . import b", "methods.b: move"),
  ("jaxpriv/methods/a.py", "from jaxpriv.methods.b import c", "methods.b.c"),
  ("jaxpriv/__init__.py", "from jaxpriv import data", "below everything"),
  ("jaxpriv/data/a.py", "def f():\n  import torch", "a.py:2: imports torch"),
  ("jaxpriv/data/a.py", "import tensorflow as tf", "imports tensorflow"),
  ("launch/a.py", "from clu import metric_writers", "imports clu"),
  ("launch/a.py", "import pandas", "pandas: not among the dependencies"),
  ("configs/a.py", "import launch.train", "launch is not below configs"),
  (
    "jaxpriv/training/a.py",
    "def f(config):\n  return config.model.secret",
    "a.py:2: reads config.model.secret",
  ),
  ("launch/a.py", 'NAMES = ("poison",)', "names the mechanism poison"),
  ("jaxpriv/metrics/a.py", "class Mean:\n  total = 0", "Mean is not a Named"),
  ("jaxpriv/metrics/a.py", "def f():\n  global n", "rebinds an outer name"),
]

SOUND = [
  ("jaxpriv/methods/a.py", "from jaxpriv.methods.a import b"),
  ("jaxpriv/methods/a/b.py", "from . import c"),
  ("jaxpriv/methods/a.py", "from jaxpriv.training import loop\nimport jax"),
  ("jaxpriv/attacks/a.py", "from jaxpriv.metrics import image"),
  ("jaxpriv/release/a.py", "from jaxpriv.reports import card"),
  ("jaxpriv/reports/a.py", '"""Such as poison, said in a docstring."""'),
  ("jaxpriv/attacks/a.py", "def f(config):\n  return config.model.net"),
  ("jaxpriv/data/a.py", "import tensorflow_datasets as tfds, json"),
  ("jaxpriv/data/a.py", "from PIL import Image\nfrom absl import flags"),
  ("jaxpriv/data/a.py", "from jaxpriv import __version__"),
  ("launch/a.py", "from jaxpriv.attacks import b\nfrom configs import c"),
  (
    "jaxpriv/metrics/a.py",
    "from typing import NamedTuple\nclass Rate(NamedTuple):\n  hits: int",
  ),
]


def errors_in(root, path, source):
  (root / path).parent.mkdir(parents=True, exist_ok=True)
  (root / path).write_text(source)
  # A mechanism, without a file that would be read.
  (root / "jaxpriv/methods/poison").mkdir(parents=True, exist_ok=True)
  (root / "pyproject.toml").write_text(PYPROJECT)
  errors, count = check_imports.check(root)
  assert count == 1
  return errors


def test_this_checkout_is_sound():
  errors, count = check_imports.check(ROOT)
  assert errors == []
  assert count > 10


@pytest.mark.parametrize(("path", "source", "message"), BROKEN)
def test_finds(tmp_path, path, source, message):
  (error,) = errors_in(tmp_path, path, source)
  assert error.startswith(path)
  assert message in error


@pytest.mark.parametrize(("path", "source"), SOUND)
def test_allows(tmp_path, path, source):
  assert errors_in(tmp_path, path, source) == []


def test_exit_status_tells(tmp_path, capsys):
  errors_in(tmp_path, "jaxpriv/data/a.py", "import jax")
  assert check_imports.main(["", str(tmp_path)]) == 0
  errors_in(tmp_path, "jaxpriv/data/a.py", "import torch")
  assert check_imports.main(["", str(tmp_path)]) == 1
  assert "jaxpriv/data/a.py:1" in capsys.readouterr().out
  (tmp_path / "jaxpriv/data/a.py").unlink()
  assert check_imports.main(["", str(tmp_path)]) == 1  # An empty check fails.
