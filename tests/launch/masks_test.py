"""Mask desensitization end to end: a mask, its masknet, a release of both."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from jaxpriv.methods.mask_desensitization import search, template
from jaxpriv.models import backbones
from jaxpriv.models.masknet import Masknet, fold
from jaxpriv.training import checkpoints, export, mechanism
from jaxpriv.training import workdir as workdir_lib
from tests.launch.programs import run, short

TRAIN = [
  "--config=configs/mask_desensitization.py:demo",
  "--config.data.source=folder",
  "--config.data.image_size=32",
  "--config.data.max_bad_share=0.1",
  "--config.data.splits.train=0.4",
  "--config.data.splits.attack=0.2",
  "--config.data.splits.test=0.4",
  "--config.model.backbone.depths=1,1",
  "--config.model.backbone.width=4",
  "--config.model.backbone.features=16",
  "--config.model.layer=2",
  "--config.model.plain=False",
  "--config.model.search.utility=clean",
  "--config.model.search.at_once=8",
  "--config.model.search.photographs=4",
  "--config.model.search.privacy=identity",
  "--config.model.clear=0.5",
  *short("phases", 4, "recogniser", "template", "search", "masknet"),
  "--config.phases.search.evaluate_every=2",
  *short("evaluation.phases", 2, "recogniser", "repair"),
  "--config.phases.mask.batch_size=4",
  "--config.phases.eigenfaces.batch_size=8",
  "--config.evaluation.attacks=reidentification,repair,verification",
  "--config.evaluation.controls=black_box",
  "--config.evaluation.recogniser.depths=1,1",
  "--config.evaluation.recogniser.width=4",
  "--config.attacks.repair.components=4",
  "--config.attacks.repair.widths=4",
  "--config.attacks.verification.folds=2",
  "--config.attacks.verification.counterpart=False",
  "--config.release.batch_size=4",
]


@pytest.fixture(scope="module")
def workdir(folder, tmp_path_factory):
  path = tmp_path_factory.mktemp("run")
  run(
    "launch.train", *TRAIN, f"--config.data.path={folder}", f"--workdir={path}"
  )
  run("launch.evaluate", f"--workdir={path}")
  return path


def test_what_is_kept_and_what_is_hidden_are_measured(workdir):
  text = (workdir / "evaluation/metrics.json").read_text()
  results = json.loads(text)
  assert results["products"] == ["image", "model"]
  mine = [
    f for f in results["findings"] if f["subject"] == "mask_desensitization"
  ]
  verified = [f for f in mine if f["claim"] == "verification"]
  assert {f["by"] for f in verified} == {
    "recogniser", "masknet", "independent vgg",
  }  # fmt: skip
  assert len({f["where"]["situation"] for f in verified}) == 3
  repaired = {
    f["by"] for f in mine if f["metric"] == "hidden SSIM"
  }  # fmt: skip
  assert repaired == {"repair, conditional Gaussian", "repair, U-Net"}
  assert (workdir / "evaluation/report.html").stat().st_size > 10_000


def test_a_search_shows_its_masks_and_can_be_repeated(workdir, mesh):
  """The mask follows from the config, its number and the template."""
  pictures = sorted(p.name for p in (workdir / "samples/search").iterdir())
  assert pictures == ["00000002.png", "00000004.png"]
  assert (workdir / "samples/template/00000004.png").exists()
  config = workdir_lib.load_config(workdir)
  found = {
    name: checkpoints.load(workdir / "phases" / name, mesh)
    for name in ("mask", "template")
  }
  model = config.model
  critical = template.critical(
    found["template"], model.template.threshold, 1 - model.search.hidden[1]
  )
  again = search.candidate(
    config.seed, found["mask"]["number"], critical, model.search
  )
  np.testing.assert_array_equal(again, found["mask"]["keep"])


def test_clients_train_the_masknet_of_a_mask_that_a_server_found(
  workdir, folder, tmp_path, mesh
):
  found = ("recogniser", "template", "eigenfaces", "search", "mask")
  path = tmp_path / "federated"
  run(
    "launch.train", *TRAIN, f"--config.data.path={folder}",
    f"--workdir={path}", f"--config.pretrained={workdir}",
    f"--config.pretrained_phases={','.join(found)}",
    *(f"--config.phases.{name}.steps=0" for name in found),
    "--config.federated.clients=2", "--config.federated.phases=masknet",
    "--config.federated.local_steps=2", "--config.phases.masknet.steps=2",
    "--config.phases.masknet.batch_size=4",
  )  # fmt: skip
  load = lambda name, at: checkpoints.load(at / "phases" / name, mesh)
  np.testing.assert_array_equal(
    load("mask", path)["keep"], load("mask", workdir)["keep"]
  )
  before, after = (load("masknet", at)["params"] for at in (workdir, path))
  leaves = jax.tree.leaves(
    jax.tree.map(lambda a, b: (a - b).any(), before, after)
  )
  assert all(leaves) and all(
    np.isfinite(leaf).all() for leaf in jax.tree.leaves(after)
  )
  lines = (path / "metrics/masknet.jsonl").read_text().splitlines()
  assert json.loads(lines[-1])["step"] == 1


def test_masked_photographs_their_masks_and_the_masknet_are_released(
  workdir, folder, tmp_path
):
  output = tmp_path / "out"
  run(
    "launch.release", f"--workdir={workdir}", f"--input={folder}",
    f"--output={output}", "--max_bad_share=0.1",
  )  # fmt: skip
  images = sorted((output / "images").iterdir())
  masks = [np.array(Image.open(output / "masks" / p.name)) for p in images]
  assert images and len({mask.tobytes() for mask in masks}) == 1
  hidden = masks[0][..., 0] == 0
  assert 0.65 < hidden.mean() < 0.9
  pixels = np.array([np.array(Image.open(path)) for path in images])
  assert not pixels[:, hidden].any() and pixels[:, ~hidden].any()

  config = workdir_lib.load_config(output)
  states = export.read(output / "parameters.npz")
  assert set(states) == {"mask", "masknet"}  # and no photograph of the search
  np.testing.assert_array_equal(states["mask"]["keep"], ~hidden)
  trained = mechanism.Trained(tuple(mechanism.phases(config)), states)
  embed, state, frozen = trained.bound("embed")
  keep = np.broadcast_to(~hidden, (len(pixels), *hidden.shape))
  batch = {"image": pixels / np.float32(255), "keep": keep}
  embeddings = np.asarray(embed(state, frozen, batch))
  assert embeddings.shape == (len(images), 16)
  # The FSM of one mask is a constant. Mirror images are read, too.
  options = config.model.backbone.to_dict()
  backbone = backbones.make(options.pop("architecture"), **options)
  masknet = Masknet(backbone, config.model.layer)
  own = {
    kind: states["masknet"][kind]["backbone"]
    for kind in ("params", "batch_stats")
  }
  sides = (
    (batch["image"], ~hidden),
    (batch["image"][:, :, ::-1], ~hidden[:, ::-1]),
  )
  folded = sum(fold(masknet, own, mask)(shown) for shown, mask in sides)
  np.testing.assert_allclose(folded, embeddings, rtol=1e-4, atol=1e-5)
  card = (output / "CARD.md").read_text()
  assert "Whoever has the masknet tells people" in card
  assert str(folder) not in card
