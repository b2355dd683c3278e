"""One writer at a time in a run directory: writer.lock says which process.

A process of this machine is asked for: one that has ended, however it ended, is
succeeded at once. One of another machine, or of another container of this one,
cannot be asked. But a writer renews its lock every `BEAT` seconds, so whoever
comes watches for that: a lock that is renewed is held, one that is not renewed
in `SILENCE` seconds is a dead one's. No two clocks are compared.

In a bucket, where no file can be made only if it is not there, two that start
within a second might both miss each other's file, and the last one wins.
"""

import contextlib
import datetime
import json
import os
import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

from jaxpriv import files
from jaxpriv.errors import UserError

NAME = "writer.lock"
BEAT = 20.0
SILENCE = 120.0

_POLL = 5.0
_TAKEN, _REFUSED, _WATCHING = range(3)

KEYS = {"host", "system", "process", "started", "since", "beat"}
Holder = dict[str, Any]  # of these keys


class LockError(UserError):
  """A run directory has another writer, or cannot be written."""


@contextlib.contextmanager
def hold(workdir: epath.PathLike) -> Iterator[None]:
  """Keeps other writers out of a run directory, which is made if need be.

  The first of several processes takes the lock for all of them.

  Raises:
    LockError: another one writes there, or nobody can.
  """
  path = epath.Path(workdir) / NAME
  me = _describe_me()
  first = jax.process_index() == 0
  attempt = _take(path, me) if first else iter(())
  while True:
    refusal: LockError | None = None
    state = _TAKEN
    try:
      if next(attempt, None):
        state = _WATCHING
    except LockError as error:
      refusal, state = error, _REFUSED
    if jax.process_count() > 1:
      state = int(multihost_utils.broadcast_one_to_all(np.int32(state)))
    if state == _REFUSED:
      raise refusal or LockError(f"{workdir}: the first process was refused")
    if state == _TAKEN:
      break
    time.sleep(_POLL)
  if not first:
    yield
    return
  ended = threading.Event()
  thread = threading.Thread(target=_renew, args=(path, me, ended), daemon=True)
  thread.start()
  try:
    yield
  finally:
    ended.set()
    thread.join()
    with contextlib.suppress(OSError):
      if _same(_read(path), me):
        path.unlink()


def _take(path: epath.Path, me: Holder) -> Iterator[str]:
  """Yields whom it watches; ends when the lock is taken."""
  try:
    yield from _tries(path, me)
  except OSError as error:
    raise LockError(
      f"{path.parent}: nothing can be written there"
      f" ({error.strerror or error}): give another --workdir"
    ) from error


def _tries(path: epath.Path, me: Holder) -> Iterator[str]:
  workdir = path.parent
  if workdir.exists() and not workdir.is_dir():
    raise LockError(f"{workdir} is a file: --workdir is to be a folder")
  workdir.mkdir(parents=True, exist_ok=True)
  watched: Holder | None = None
  begun = 0.0
  while not _create(path, me):
    holder = _read(path)
    if holder is None:
      continue  # removed just now
    who, since = "somebody", "nobody knows since when"
    if holder:
      who = f"process {holder['process']} on {holder['host']}"
      since = f"since {holder['since']}"
    near = holder.get("system") == me["system"]
    silent = watched == holder and time.monotonic() - begun > SILENCE
    if silent or (near and not _runs(holder)):
      logging.warning(
        "%s was left locked by %s (%s), which has ended: taken over",
        workdir, who, since,
      )  # fmt: skip
      _remove(path, holder)
    elif near or watched not in (None, holder):
      raise LockError(
        f"{workdir} is being written by {who}, {since}: wait until it has"
        " ended, or use another --workdir"
        + ("" if near else f"; if it is surely gone, remove {path}")
      )
    else:
      if watched is None:
        watched, begun = holder, time.monotonic()
        logging.warning(
          "%s is locked by %s, %s: waiting up to %d seconds to see whether that"
          " still runs; if it is surely gone, remove %s",
          workdir, who, since, SILENCE, path,
        )  # fmt: skip
      yield who


def _create(path: epath.Path, me: Holder) -> bool:
  """Makes the lock if there is none; tells whether it did."""
  if not files.in_bucket(path):
    try:
      with open(path, "x") as stream:
        stream.write(json.dumps(me))
    except FileExistsError:
      return False
    return True
  if path.exists():
    return False
  files.atomic_write(path, json.dumps(me))
  time.sleep(1)
  return _same(_read(path), me)


def _read(path: epath.Path) -> Holder | None:
  """Who holds a lock: {} if it does not say so (yet), None if nobody does."""
  try:
    content = json.loads(path.read_text())
  except FileNotFoundError:
    return None
  except ValueError:
    return {}
  complete = isinstance(content, dict) and content.keys() >= KEYS
  return content if complete else {}


def _remove(path: epath.Path, holder: Holder) -> None:
  """Removes the lock of a dead one, unless somebody else was faster."""
  if _read(path) == holder:
    with contextlib.suppress(FileNotFoundError):
      path.unlink()


def _renew(path: epath.Path, me: Holder, ended: threading.Event) -> None:
  """Shows until `ended` that this process runs.

  One that was suspended, for so long that another one has taken the lock, is
  ended.
  """
  beat = 0
  while not ended.wait(BEAT):
    beat += 1
    try:
      if not _same(_read(path), me):
        _end(
          f"{path} is not of this process any more: another one writes there"
        )
        return
      files.atomic_write(path, json.dumps({**me, "beat": beat}))
    except OSError as error:  # a full disk, a server that is away for a while
      logging.warning("%s could not be renewed: %s", path, error)


def _end(reason: str) -> None:
  """Ends the process without saving anything into what is another one's."""
  logging.error("error: %s", reason)
  os._exit(1)


def _describe_me() -> Holder:
  now = datetime.datetime.now(datetime.UTC)
  return {
    "host": socket.gethostname(),
    "system": _system(),
    "process": os.getpid(),
    "started": _started(os.getpid()),
    "since": f"{now:%Y-%m-%d %H:%M:%S} UTC",
    "beat": 0,
  }


def _same(holder: Holder | None, me: Holder) -> bool:
  return holder is not None and {**holder, "beat": 0} == me


def _system() -> str:
  """Where numbers of processes mean the same; containers have their own."""
  try:
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"
  except OSError:
    return socket.gethostname()


def _runs(holder: Holder) -> bool:
  """Tells whether a process of this system runs, and is still the same one."""
  number = int(holder["process"])
  try:
    os.kill(number, 0)
  except ProcessLookupError:
    return False
  except PermissionError:
    pass  # of somebody else
  now = _started(number)
  return not now or now == holder["started"]


def _started(number: int) -> str:
  """When a process started, in ticks since boot; "" where nothing says so."""
  try:
    text = pathlib.Path(f"/proc/{number}/stat").read_text()
  except OSError:
    return ""
  # The name before the last bracket may hold anything.
  fields = text.rpartition(")")[2].split()
  return "ended" if fields[0] in "ZX" else fields[19]
