"""Compiled programs are kept where nobody else reads them, and not forever."""

import os

import jax
import pytest

from jaxpriv.data import pretrained
from jaxpriv.training import program_cache


@pytest.fixture
def nothing_chosen(tmp_path, monkeypatch):
  """JAX without a folder for programs, as it is outside of tests."""
  chosen = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", None)
  monkeypatch.setenv(pretrained.CACHE_VARIABLE, str(tmp_path / "cache"))
  yield tmp_path / "cache"
  jax.config.update("jax_compilation_cache_dir", chosen)


def test_programs_are_kept_for_their_owner_alone(nothing_chosen):
  folder = program_cache.keep()
  assert folder.is_relative_to(nothing_chosen / "programs")
  assert folder.stat().st_mode & 0o777 == 0o700
  assert jax.config.jax_compilation_cache_dir == str(folder)
  assert program_cache.keep() is None  # it is chosen now


def test_a_folder_of_the_users_choice_stays(nothing_chosen, tmp_path):
  jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
  assert program_cache.keep() is None
  assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
  assert not nothing_chosen.exists()


def test_it_can_be_switched_off(nothing_chosen):
  jax.config.update("jax_enable_compilation_cache", False)
  try:
    assert program_cache.keep() is None
  finally:
    jax.config.update("jax_enable_compilation_cache", True)
  assert not nothing_chosen.exists()


def test_a_folder_that_cannot_be_made_is_told(nothing_chosen, caplog):
  nothing_chosen.write_text("a file is in its place")
  assert program_cache.keep() is None
  assert not jax.config.jax_compilation_cache_dir
  assert "not kept" in caplog.text


def test_other_instructions_have_another_folder(tmp_path):
  names = set()
  for text in (
    "flags : avx2 fma\n",
    "flags : avx2 avx512f\n",
    "Features: neon",
  ):
    table = tmp_path / "cpuinfo"
    table.write_text(f"processor : 0\n{text}")
    names.add(program_cache.instructions(table))
    # The clock of a core changes, and says nothing.
    table.write_text(f"cpu MHz : 2000\n{text}")
    names.add(program_cache.instructions(table))
  assert len(names) == 3
  program_cache.instructions(tmp_path / "none")


def test_programs_that_were_not_used_for_longest_go(
  nothing_chosen, monkeypatch
):
  folder = program_cache.keep()
  for number in range(10):
    (folder / str(number)).write_bytes(bytes(100))
    os.utime(folder / str(number), (1000 + number, 1000 + number))
  jax.config.update("jax_compilation_cache_dir", None)
  monkeypatch.setattr(program_cache, "MOST", 1000)
  program_cache.keep()
  assert len(list(folder.iterdir())) == 10
  jax.config.update("jax_compilation_cache_dir", None)
  monkeypatch.setattr(program_cache, "MOST", 600)
  program_cache.keep()
  assert sorted(path.name for path in folder.iterdir()) == ["7", "8", "9"]
