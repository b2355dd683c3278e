"""How programs end, and paths among their flags."""

import errno

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from absl import app, flags
from flax import errors as flax_errors

from jaxpriv import files
from jaxpriv.errors import UserError
from jaxpriv.training import preemption
from launch import common


def end(monkeypatch, capsys, error):
  """(exit status, what is said on stderr) of a program that raises it."""

  def main(argv):
    raise error

  monkeypatch.setattr(app, "run", lambda guarded, **how: guarded(["program"]))
  with pytest.raises(SystemExit) as stop:
    common.run(main)
  return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
  ("error", "said"),
  [
    (UserError("too few"), "error: too few\n"),
    (FileNotFoundError("no run there"), "error: no run there\n"),
    (
      OSError(errno.ENOSPC, "No space left on device", "runs/a/x.json"),
      "error: runs/a/x.json: No space left on device\n",
    ),
    (
      PermissionError(errno.EACCES, "Permission denied", "runs"),
      "error: runs: Permission denied\n",
    ),
  ],
)
def test_errors_of_users_and_systems_are_one_line(
  error, said, monkeypatch, capsys
):
  assert end(monkeypatch, capsys, error) == (1, said)


def test_networks_of_another_version_are_one_line(monkeypatch, capsys):
  now, before = jnp.zeros((1, 15)), jnp.zeros((1, 5))
  params = nn.Dense(4).init(jax.random.key(0), before)
  with pytest.raises(flax_errors.ScopeParamShapeError) as raised:
    nn.Dense(4).apply(params, now)
  code, said = end(monkeypatch, capsys, raised.value)
  assert code == 1 and said.count("\n") == 1
  assert "train them again" in said and "(15, 4)" in said and "http" not in said


def test_ctrl_c_is_one_line(monkeypatch, capsys):
  code, said = end(monkeypatch, capsys, KeyboardInterrupt())
  assert code == 130
  assert said == "interrupted: run the same command to go on\n"


def test_a_saved_run_keeps_its_status(monkeypatch, capsys):
  monkeypatch.setattr(preemption, "_received", 2)
  stopped = preemption.Preempted("toy: asked to stop")
  assert end(monkeypatch, capsys, stopped)[0] == 130


def test_a_bug_keeps_its_traceback(monkeypatch):
  monkeypatch.setattr(app, "run", lambda guarded, **how: guarded(["program"]))

  def main(argv):
    raise KeyError("x")

  with pytest.raises(KeyError):
    common.run(main)


def test_a_full_disk_is_named_with_the_file(tmp_path, monkeypatch):
  """Errors of writing, unlike those of opening, do not name it."""

  def full(self, data):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(type(files.epath.Path(tmp_path)), "write_bytes", full)
  with pytest.raises(OSError) as error:
    files.atomic_write(tmp_path / "config.json", "{}")
  assert error.value.filename == str(tmp_path / "config.json")


def test_a_bucket_that_cannot_be_opened_is_told_before_work(monkeypatch):
  missing = lambda name: None
  monkeypatch.setattr(common.importlib.util, "find_spec", missing)
  values = flags.FlagValues()
  common.path_flag("workdir", None, "For a test.", values)
  for path, reason in (
    ("gs://bucket/run", "pip install gcsfs"),
    ("nowhere://run", "buckets are those of gs, s3"),
  ):
    with pytest.raises(flags.IllegalFlagValueError, match=reason):
      values(["program", f"--workdir={path}"])


@pytest.mark.parametrize(
  ("given", "path"),
  [
    ("~/runs/a", "/home/anna/runs/a"),
    ("runs", "runs"),
  ],
)
def test_the_home_of_a_user_may_be_written_as_a_shell_writes_it(
  given, path, monkeypatch
):
  monkeypatch.setenv("HOME", "/home/anna")
  values = flags.FlagValues()
  holder = common.path_flag("workdir", None, "For a test.", values)
  values(["program", f"--workdir={given}"])
  assert holder.value == path
