"""Files of users and of others, damaged at random: read, or refused in a line.

Some thousand of them, each a function of its kind and number, so that one that
fails can be made again: `mutated(content, seed)`. They are read in this process
under a limit of time; nothing may be written, and memory may not grow much.
"""

import io
import json
import pathlib
import resource
import signal
import time
import zlib

import jax
import numpy as np
import pytest
from etils import epath
from ml_collections import ConfigDict
from PIL import Image

from configs import baseline
from jaxpriv.data import (
  array_record,
  detection_labels,
  images,
  pool,
  pretrained,
)
from jaxpriv.data.folder import FolderSource
from jaxpriv.data.records import UnreadableImageError
from jaxpriv.errors import UserError
from jaxpriv.release.folder import Folder
from jaxpriv.reports import results as results_lib
from jaxpriv.training import checkpoints, export, people, writers
from jaxpriv.training import mesh as mesh_lib
from jaxpriv.training import workdir as workdir_lib
from tests.reports import examples

SECONDS = 20  # that one input may take
GROWTH = 1 << 30  # bytes of memory that all of a kind may add

TOKENS = (b"", b"0", b"-1", b"1e999", b"nan", b"NaN", b"null", b"[]", b"{}",
          b'""', b"\xff\xfe", b"\0", b"9" * 21, b"../../x", b"/etc", b'"',
          b",", b"\r", b"\n\n", b"[" * 5000, b"a" * 70000,
          "é".encode("latin-1"), "\u202e".encode())  # fmt: skip


def mutated(content: bytes, seed: int) -> bytes:
  """The content with one to four changes that depend on the seed alone."""
  random = np.random.default_rng(seed)
  for _ in range(random.integers(1, 5)):
    size = max(len(content), 1)
    start, stop = sorted(random.integers(0, size, 2).tolist())
    kind = random.integers(6)
    if kind == 0:  # flip bits of a few bytes
      changed = bytearray(content)
      for place in random.integers(0, size, 4).tolist():
        if place < len(changed):
          changed[place] ^= int(random.integers(1, 256))
      content = bytes(changed)
    elif kind == 1:
      content = content[:stop]
    elif kind == 2:
      content = content[:start] + content[stop:]
    elif kind == 3:
      content = content[:stop] + content[start:]
    elif kind == 4:
      token = TOKENS[random.integers(len(TOKENS))]
      content = content[:start] + token + content[start:]
    else:  # in place of what stands between two marks
      token = TOKENS[random.integers(len(TOKENS))]
      end = next(
        (i for i in range(start + 1, len(content)) if content[i] in b",:;]}"),
        stop,
      )
      content = content[:start] + token + content[end:]
  return content


@pytest.fixture(scope="module")
def mesh():
  return mesh_lib.make_mesh(1)


@pytest.fixture
def hung():
  """Ends an input that takes too long."""

  def stop(number, frame):
    raise AssertionError(f"no end after {SECONDS} seconds")

  before = signal.signal(signal.SIGALRM, stop)
  yield
  signal.alarm(0)
  signal.signal(signal.SIGALRM, before)


def check(kind, count, folder, make, read, refuses=True):
  """Reads `count` inputs.

  Args:
    kind: of input; seeds depend on it.
    count: of inputs.
    folder: where they lie, in which nothing else may appear.
    make: the valid content of each file, path -> bytes.
    read: () -> None, reads them; it may raise what users see as one sentence.
    refuses: some of them are damaged enough to be refused.
  """
  base = zlib.crc32(kind.encode()) % 10**6 * 1000
  refused = 0
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  for number in range(count):
    seed = base + number
    names = sorted(make)
    chosen = names[seed % len(names)]
    for name in names:
      (folder / name).parent.mkdir(parents=True, exist_ok=True)
      content = make[name]
      if name == chosen:
        content = mutated(content, seed)
      (folder / name).write_bytes(content)
    before = sorted(folder.rglob("*"))
    begun = time.monotonic()
    signal.alarm(SECONDS)
    try:
      read()
    except (UserError, FileNotFoundError) as error:
      refused += 1
      assert str(error).strip(), (kind, seed, chosen)
      assert "Traceback" not in str(error), (kind, seed, chosen)
    except Exception as error:
      raise AssertionError(
        f"{kind}, seed {seed}, {chosen}: {type(error).__name__}: {error}"
      ) from error
    finally:
      signal.alarm(0)
    assert time.monotonic() - begun < SECONDS
    assert sorted(folder.rglob("*")) == before, (kind, seed, chosen)
  grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
  assert grown * 1024 < GROWTH, f"{kind}: {grown / 1024:.0f} MB"
  assert bool(refused) == refuses


def picture(seed=0, side=24):
  random = np.random.default_rng(seed)
  coarse = random.integers(0, 256, (4, 4, 3), np.uint8)
  return Image.fromarray(coarse).resize((side, side))


@pytest.mark.parametrize(
  "image_format",
  ["jpeg", "png", "webp", "tiff", "gif", "bmp", "ppm", "avif", "tga", "psd"],
)
def test_images(image_format, tmp_path, hung):
  if image_format == "psd":  # which Pillow reads and does not write
    content = b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\4\0\0\0\4\0\10\0\3"
    content += bytes(12) + b"\0\0" + bytes(48)
  else:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    options = {} if image_format in ("gif", "bmp", "ppm", "tga") else dict(
      exif=exif
    )  # fmt: skip
    picture().save(buffer, image_format, **options)
    content = buffer.getvalue()
  path = tmp_path / "x"

  def read():
    image = images.open_image(path)
    width, height = images.upright_size(image)
    decoded = images.decode(image, name="x")
    assert decoded.size == (width, height) and decoded.mode == "RGB"

  check(f"image {image_format}", 25, tmp_path, {"x": content}, read)


def test_tables(tmp_path, hung):
  lines = ["file,set,identity,gender,age,glasses,Hat,x0,y0,x1,y1,points"]
  five = "8,9;16,9;12,13;9,17;15,17"
  files = {}
  for i in range(6):
    buffer = io.BytesIO()
    picture(i).save(buffer, "png")
    files[f"p{i}.png"] = buffer.getvalue()
    lines.append(f'p{i}.png,a,q{i // 2},F,{20 + i},1,0,2,3,21,22,"{five}"')
  table = "\n".join(lines).encode()
  for name, content in files.items():
    (tmp_path / name).write_bytes(content)

  def read():
    source = FolderSource(tmp_path)
    assert len(source.identities) == len(source)
    values = source.attribute_values
    assert np.isin(values, (-1, 0, 1)).all()
    for index in range(len(source)):
      try:
        source[index]
      except UnreadableImageError:
        continue

  check("table", 200, tmp_path, {"labels.csv": table}, read)


@pytest.mark.parametrize("name", detection_labels.FORMATS)
def test_labels_of_detection_sets(name, tmp_path, hung):
  place = {"voc": "voc", "wider_mat": "wider_face_val.mat"}.get(name, name)
  face = detection_labels.Face(
    (1, 2, 30, 40), ((1, 2),) * 5, (1,) * 5,
    dict.fromkeys(detection_labels.ATTRIBUTES, 1),
  )  # fmt: skip
  made = detection_labels.annotation("e/a.jpg", [face, face], (50, 60))
  detection_labels.write(tmp_path / place, [made], name)
  files = {
    str(path.relative_to(tmp_path)): path.read_bytes()
    for path in tmp_path.rglob("*")
    if path.is_file()
  }

  def read():
    for one in detection_labels.read(tmp_path / place, name):
      assert one.boxes.shape[1:] == (4,) and np.isfinite(one.boxes).all()

  check(f"labels {name}", 150, tmp_path, files, read)


def test_configs_of_runs(tmp_path, hung):
  config = baseline.get_config("demo,k_same")
  workdir_lib.save_config(tmp_path, config)
  content = (tmp_path / "config.json").read_bytes()

  def read():
    loaded = workdir_lib.load_config(tmp_path)
    assert isinstance(loaded, ConfigDict)
    workdir_lib.check_config(tmp_path, config)

  check("config", 100, tmp_path, {"config.json": content}, read)


def test_people_of_runs(tmp_path, hung):
  content = json.dumps(
    {"train": ["ab", "cd"], "pretrained": [], "photographs": "ef", "fed": {}}
  )
  make = {"people.json": content.encode()}
  check("people", 50, tmp_path, make, lambda: people.learned_from(tmp_path))


def test_metrics_of_runs(tmp_path, hung):
  lines = [json.dumps({"step": i, "loss": 1 / (i + 1)}) for i in range(9)]
  make = {"metrics/fsn.jsonl": "\n".join(lines).encode()}

  def read():
    for line in writers.read_metrics(tmp_path, "fsn"):
      assert isinstance(line, dict)

  check("metrics", 50, tmp_path, make, read, refuses=False)


def test_results(tmp_path, hung):
  results_lib.write(tmp_path / "metrics.json", examples.images())
  make = {"metrics.json": (tmp_path / "metrics.json").read_bytes()}
  read = lambda: results_lib.read(tmp_path / "metrics.json")
  check("results", 100, tmp_path, make, read)


def test_journals_of_releases(tmp_path, hung):
  key = {"config": "a", "list of images": "b"}
  (tmp_path / "out.partial").mkdir()
  make = {"out.partial.json": json.dumps({"key": key, "secret": "s"}).encode()}
  read = lambda: Folder(epath.Path(tmp_path / "out")).resume(key)
  check("journal", 50, tmp_path, make, read)


def test_packed_sets(tmp_path, hung):
  records = [
    dict(
      image=np.asarray(picture(i)), attributes=np.int8([1])
    )
    for i in range(4)
  ]  # fmt: skip
  array_record.write(tmp_path / "set", records, attribute_names=("Hat",))
  make = contents(tmp_path / "set")

  def read():
    source = array_record.ArrayRecordSource(tmp_path / "set")
    for index in range(len(source)):
      try:
        source[index]
      except UnreadableImageError:
        continue

  check("packed", 100, tmp_path / "set", make, read)


def test_pools(tmp_path, hung):
  records = [
    dict(features=np.full((2, 2, 3), i, np.float16), attributes=np.int8([1]))
    for i in range(4)
  ]
  pool.write(
    tmp_path / "pool",
    records,
    featurizer="f" * 64,
    layer="conv2_1",
    align="landmarks",
    attribute_names=("Hat",),
  )
  make = contents(tmp_path / "pool")

  def read():
    opened = pool.Pool(tmp_path / "pool")
    assert opened.features(np.arange(len(opened))).dtype == np.float16

  check("pool", 100, tmp_path / "pool", make, read)


def test_weights_of_others(tmp_path, hung, monkeypatch):
  monkeypatch.setenv(pretrained.CACHE_VARIABLE, str(tmp_path))
  path = pretrained.path_of("dlib")
  pretrained.save({"a": np.ones((2, 3), np.float16)}, path)
  read = lambda: pretrained.load("dlib")
  check("weights", 50, tmp_path, {path.name: path.read_bytes()}, read)


def test_manifests_of_others(tmp_path, hung):
  weights = [
    {"name": "a", "shape": [2, 3], "dtype": "float32"},
    {"name": "b", "shape": [4], "dtype": "float32",
     "quantization": {"dtype": "uint8", "scale": 0.1, "min": -1}},
  ]  # fmt: skip
  make = {
    "m.json": json.dumps([{"paths": ["x"], "weights": weights}]).encode(),
    "m.bin": bytes(28),
  }

  def read():
    manifest = (tmp_path / "m.json").read_bytes()
    data = (tmp_path / "m.bin").read_bytes()
    pretrained.restored(pretrained.parse(manifest, data, "m.json"))

  check("manifest", 50, tmp_path, make, read)


def test_released_models(tmp_path, hung):
  state = {"toy": {"params": {"gain": np.ones(3, np.float32)}}}
  export.write(
    tmp_path / "parameters.npz",
    {"toy": {**state["toy"], "batch_stats": {}}},
  )
  make = {"parameters.npz": (tmp_path / "parameters.npz").read_bytes()}
  read = lambda: export.read(tmp_path / "parameters.npz")
  check("model", 50, tmp_path, make, read)


def test_checkpoints(tmp_path, hung, mesh):
  ones = jax.numpy.ones(8)
  state = {"params": {"gain": ones}, "opt": {"m": ones}}
  with checkpoints.open_manager(tmp_path / "run") as manager:
    checkpoints.save(manager, 3, state)
  make = contents(tmp_path / "run")

  def read():
    loaded = checkpoints.load(tmp_path / "run", mesh)
    np.testing.assert_array_equal(loaded["params"]["gain"], np.ones(8))

  check("checkpoint", 50, tmp_path / "run", make, read)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }
