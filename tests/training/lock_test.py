"""Two processes do not write into one run directory."""

import errno
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest

from jaxpriv.training import lock

# Takes the lock of a folder and keeps it until it is killed.
HOLDER = """
import pathlib, sys, time
from jaxpriv.training import lock
with lock.hold(sys.argv[1]):
  print("held", flush=True)
  time.sleep(60)
"""
ROOT = pathlib.Path(__file__).resolve().parents[2]


def read(workdir):
  return json.loads((workdir / lock.NAME).read_text())


def write(workdir, **changes):
  """A lock of somebody, by default of another machine."""
  workdir.mkdir(exist_ok=True)
  holder = {**lock._describe_me(), "host": "node7", "system": "another"}
  (workdir / lock.NAME).write_text(json.dumps({**holder, **changes}))


@pytest.fixture
def quick(monkeypatch):
  monkeypatch.setattr(lock, "_POLL", 0.01)
  monkeypatch.setattr(lock, "BEAT", 0.02)
  monkeypatch.setattr(lock, "SILENCE", 0.3)


def test_a_lock_is_of_this_process_until_it_ends(tmp_path):
  for workdir in (tmp_path / "new/run", tmp_path):
    with lock.hold(workdir):
      holder = read(workdir)
      assert holder["process"] == os.getpid()
      assert holder["host"] == socket.gethostname()
    assert not list(workdir.glob("*.lock*"))
  with pytest.raises(SystemExit), lock.hold(tmp_path):
    raise SystemExit(143)  # asked to stop
  assert not list(tmp_path.glob("*.lock*"))


def test_the_second_writer_is_refused_and_a_killed_one_succeeded(
  tmp_path, caplog
):
  process = subprocess.Popen(
    [sys.executable, "-c", HOLDER, str(tmp_path)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    assert process.stdout.readline() == "held\n"
    with pytest.raises(lock.LockError) as error, lock.hold(tmp_path):
      pass
    message = str(error.value)
    assert f"{tmp_path} is being written by process {process.pid} on" in message
    assert socket.gethostname() in message
    assert f"since {read(tmp_path)['since']}" in message
    assert "\n" not in message
    # The refused one leaves it locked.
    assert read(tmp_path)["process"] == process.pid
  finally:
    process.kill()
  # Nobody has waited for it yet: it is there, and has ended.
  deadline = time.monotonic() + 10
  while lock._started(process.pid) not in ("ended", ""):
    assert time.monotonic() < deadline
    time.sleep(0.01)
  with lock.hold(tmp_path):
    assert read(tmp_path)["process"] == os.getpid()
  process.wait()
  assert f"left locked by process {process.pid} on" in caplog.text


@pytest.mark.skipif(not lock._started(os.getpid()), reason="needs /proc")
def test_another_process_of_the_same_number_is_not_the_writer(tmp_path):
  me = lock._describe_me()
  write(tmp_path, **{**me, "process": os.getppid()})
  with (
    lock.hold(tmp_path),  # that process started at another time
    pytest.raises(lock.LockError),
    lock.hold(tmp_path),  # this one did not
  ):
    pass


def test_without_proc_a_process_of_that_number_is_the_writer(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(lock, "_started", lambda number: "")
  write(tmp_path, **{**lock._describe_me(), "process": os.getppid()})
  with pytest.raises(lock.LockError), lock.hold(tmp_path):
    pass


def test_a_silent_lock_of_another_machine_is_taken_over(
  tmp_path, quick, caplog
):
  write(tmp_path)
  with lock.hold(tmp_path):
    assert read(tmp_path)["host"] == socket.gethostname()
  assert "waiting up to" in caplog.text and "taken over" in caplog.text


@pytest.mark.parametrize("cut", ["", '{"host": "nod', "[1]"])
def test_a_lock_that_does_not_say_whose_it_is_is_watched_too(
  cut, tmp_path, quick
):
  (tmp_path / lock.NAME).write_text(cut)
  begun = time.monotonic()
  with lock.hold(tmp_path):
    assert time.monotonic() - begun > lock.SILENCE


def test_a_lock_of_another_machine_that_is_renewed_is_respected(
  tmp_path, quick
):
  write(tmp_path)
  them, ended = read(tmp_path), threading.Event()
  path = lock.epath.Path(tmp_path) / lock.NAME
  thread = threading.Thread(target=lock._renew, args=(path, them, ended))
  thread.start()
  try:
    with pytest.raises(lock.LockError) as error, lock.hold(tmp_path):
      pass
    assert "on node7" in str(error.value)
    assert f"if it is surely gone, remove {path}" in str(error.value)
  finally:
    ended.set()
    thread.join()


def test_a_writer_that_was_succeeded_ends_and_leaves_the_lock(
  tmp_path, quick, monkeypatch
):
  ends, said = [], threading.Event()
  monkeypatch.setattr(lock, "_end", lambda why: (ends.append(why), said.set()))
  with lock.hold(tmp_path):
    write(tmp_path)
    assert said.wait(10)
  assert "not of this process any more" in ends[0]
  assert read(tmp_path)["host"] == "node7"


def test_what_cannot_be_written_is_refused_in_one_sentence(
  tmp_path, monkeypatch
):
  (tmp_path / "file").write_text("")
  for place, message in (
    ("file", "file is a file: --workdir is to be a folder"),
    ("file/run", "file/run: nothing can be written there"),
  ):
    with (
      pytest.raises(lock.LockError, match=message),
      lock.hold(tmp_path / place),
    ):
      pass

  def refuse(*args):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), "run")

  monkeypatch.setattr("builtins.open", refuse)
  with pytest.raises(lock.LockError) as error, lock.hold(tmp_path / "run"):
    pass
  monkeypatch.undo()
  assert str(error.value) == (
    f"{tmp_path / 'run'}: nothing can be written there (Read-only file system):"
    " give another --workdir"
  )
