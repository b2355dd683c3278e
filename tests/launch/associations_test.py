"""launch.associations as a user starts it: tables, files, refusals."""

import csv
import json
import os

import flax.linen as nn
import numpy as np
import optax
import pytest
from PIL import Image

from jaxpriv.data import pretrained
from jaxpriv.training import builders, loop
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.method import Outputs, Phase, untrained
from tests import tiny
from tests.launch.programs import run, start

ME = "tests.launch.associations_test"
PROGRAM = "launch.associations"
COLOURS = {
  "skin-tone/light": (230, 200, 180),
  "skin-tone/dark": (90, 60, 70),
  "age/young": (140, 120, 60),
  "valence/pleasant": (250, 210, 90),
  "valence/unpleasant": (60, 60, 130),
}


class Net(nn.Module):
  """A layer of colours."""

  @nn.compact
  def __call__(self, x, train):
    return nn.Dense(8)(x.mean((1, 2)) - 0.5)


def phases(config):
  """A recogniser of colours that has nothing to learn, or a network."""
  if config.model.get("network"):
    loss = lambda apply, batch, frozen: (apply(batch["image"]).mean(1), {})
    return [Phase("net", (), builders.supervised(Net(), loss, optax.sgd(0.1)))]
  outputs = Outputs(
    embed=lambda state, frozen, batch: batch["image"].mean((1, 2))
  )
  return [Phase("colour", (), untrained(outputs))]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  path = tmp_path_factory.mktemp("run")
  config = tiny.baseline("gaussian_blur")
  config.method = ME
  config.data.align = "centre"
  with config.unlocked():
    config.phases = {"colour": {"steps": 0}}
  workdir_lib.save_config(path, config)
  return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Pictures of colours for one of the fifteen tests, four of each target."""
  path = tmp_path_factory.mktemp("stimuli")
  rng = np.random.default_rng(0)
  for concept, colour in COLOURS.items():
    (path / concept).mkdir(parents=True)
    for i in range(5 if concept == "skin-tone/light" else 4):
      noise = rng.integers(-20, 21, (24, 36, 3))
      pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
      Image.fromarray(pixels).save(path / concept / f"{i}.png")
  (path / "valence/pleasant/broken.jpg").write_bytes(b"nothing")
  return path


def test_a_run_is_tested_on_a_folder(workdir, folder, tmp_path):
  output = tmp_path / "made" / "found.json"
  printed = run(
    PROGRAM,
    f"--workdir={workdir}",
    f"--stimuli={folder}",
    f"--output={output}",
  )
  assert f"Written to {output}" in printed
  line = next(x for x in printed.splitlines() if x.startswith("Skin-Tone "))
  content = json.loads(output.read_text())
  (column,) = content["columns"].values()
  assert list(content["columns"]) == [workdir.name]
  (row,) = column["tests"]
  assert row["effect_size"] > 1.5
  cells = ["4", f"{row['effect_size']:.2f}", "0.014", "0.014*", "all", "70"]
  assert line.split()[1:] == [*cells, "1.16", "29.2%"]
  assert row["p_value"] == row["p_holm"] == row["lowest_p"] == 1 / 70
  assert row["left_out"] == {
    "valence/pleasant/broken.jpg": "unreadable",
    "skin-tone/light/4.png": "the other target has fewer pictures",
  }
  assert "1 left out, unreadable: valence/pleasant/broken.jpg" in printed
  assert column["recogniser"] == "colour" and column["terms"] == ""
  assert content["stimuli"] == folder.name
  assert len(column["skipped"]) == 14
  assert column["skipped"]["Age"] == "Age: there is no folder age/old"
  assert "Not run: Age: there is no folder age/old" in printed
  assert [p.name for p in output.parent.iterdir()] == ["found.json"]


def test_what_is_too_small_for_holm_is_said(workdir, folder, tmp_path):
  """Four tests of own names: p is 1 / 70, and 4 / 70 after Holm."""
  place = tmp_path / "stimuli"
  place.mkdir()
  for part in ("skin-tone", "valence"):
    os.symlink(folder / part, place / part)
  with open(place / "tests.csv", "w", newline="") as stream:
    writer = csv.writer(stream)
    writer.writerow(["name", "x", "y", "a", "b"])
    for name in ("One", "Two", "Three", "[bold]"):
      writer.writerow([name, *list(COLOURS)[:2], *list(COLOURS)[3:]])
  options = [f"--workdir={workdir}", f"--stimuli={place}"]
  printed = " ".join(run(PROGRAM, *options).split())
  assert (
    "One: p is 0.0143 at the least, so that after Holm it can show" in printed
  )
  assert "only if 1 of the other tests do." in printed
  assert "[bold] 4" in printed
  few = run(PROGRAM, *options, "--tests=Two,[bold]")
  assert "One" not in few and "at the least" not in few


def test_layers_of_several_runs_are_columns_of_one_table(
  mesh, folder, tmp_path
):
  """With random parameters the same network is another column, of --seed."""
  config = tiny.baseline("gaussian_blur", network=True)
  config.method = ME
  config.data.align = "centre"
  with config.unlocked():
    config.phases = {"net": {"steps": 1}}
  place = tmp_path / "net"
  workdir_lib.save_config(place, config)
  batch = {"image": np.zeros((8, 32, 32, 3), np.uint8), "padding": [False] * 8}
  batch = {name: np.asarray(value) for name, value in batch.items()}
  loop.train(
    phases(config)[0], lambda first: iter([batch]), steps=1, seed=0,
    workdir=place, mesh=mesh, options=loop.Options(save_every=1, keep=1),
  )  # fmt: skip
  named = [f"--workdir=One:{place},Two:{place}", f"--stimuli={folder}"]
  refused = run(PROGRAM, *named, "--layer=net/Dense_1", status=1)
  assert "no layer 'net/Dense_1'" in refused
  assert "there are net/Dense_0, net/output, and" in refused
  refused = run(PROGRAM, f"{named[0]},One:{place}", named[1], status=1)
  assert f"--workdir: 'One:{place}' is not NAME:RUN, with a name" in refused
  refused = run(PROGRAM, "--random", "--network=dlib", named[1], status=1)
  assert "--layer and --random are of runs: give --workdir" in refused
  output = tmp_path / "found.json"
  printed = run(
    PROGRAM,
    *named,
    "--layer=net/Dense_0",
    "--random",
    "--seed=4",
    f"--output={output}",
  )
  columns = json.loads(output.read_text())["columns"]
  assert list(columns) == ["RI", "One", "Two"]
  assert columns["One"]["recogniser"] == "net/Dense_0"
  one, two, drawn = (columns[n]["tests"][0] for n in ("One", "Two", "RI"))
  assert one == two and one["effect_size"] > 1.5
  assert drawn["effect_size"] != one["effect_size"]
  lines = [x.split() for x in printed.splitlines()]
  at = next(i for i, x in enumerate(lines) if x[:1] == ["Skin-Tone"])
  cells = [f"{row['effect_size']:.2f}" for row in (drawn, one, two)]
  assert lines[at] == ["Skin-Tone", "4", *cells, "1.16", "29.2%"]
  assert lines[at + 1][1:] == ["0.014*", "0.014*"]
  assert "tests of its network" in " ".join(printed.split())


@pytest.mark.parametrize(
  "option, message",
  [
    ("--seed=1", "give --network, --workdir or both"),
    (
      "--network=dlib",
      "error: --tests: there is no test 'Drawn-Hats'; there are Drawn-Skin-Tone"
      ", Drawn-Age, Drawn-Gender, Drawn-Glasses",
    ),
  ],
)
def test_refusals_say_what_to_do(option, message):
  options = ["--stimuli=procedural", "--tests=Drawn-Hats", option]
  refused = run(PROGRAM, *options, status=1)
  assert message in refused and "Traceback" not in refused


@pytest.mark.faces
@pytest.mark.networks
def test_photographs_of_women_go_with_those_of_women(faces, tmp_path):
  """They do by a recogniser, in the frame that it has learned to see."""
  with open(faces / "labels.csv", newline="") as stream:
    rows = [row for row in csv.DictReader(stream) if row["set"] == "london"]
  neutral = [row for row in rows if "neutral" in row["file"]]
  for letter, first, second in (("F", "x", "a"), ("M", "y", "b")):
    chosen = [row["file"] for row in neutral if row["gender"] == letter][:12]
    for concept, part in ((first, chosen[:6]), (second, chosen[6:])):
      (tmp_path / concept).mkdir()
      for file in part:
        os.symlink(
          (faces / file).resolve(), tmp_path / concept / os.path.basename(file)
        )
  (tmp_path / "tests.csv").write_text("name,x,y,a,b\nWomen,x,y,a,b\n")
  output = tmp_path / "found.json"
  process = start(
    PROGRAM,
    "--network=dlib",
    f"--stimuli={tmp_path}",
    f"--output={output}",
    JAXPRIV_CACHE=pretrained.cache_folder(),
    XLA_FLAGS="",  # those of the tests make networks slow
  )
  printed, _ = process.communicate(timeout=600)
  assert process.returncode == 0, printed
  content = json.loads(output.read_text())
  (row,) = content["columns"]["dlib"]["tests"]
  assert (row["n"], row["framed_by"]) == (6, ["faces", "faces"])
  assert row["p_value"] < 0.01 and row["effect_size"] > 1.2
  assert "D. King" in content["columns"]["dlib"]["terms"]
