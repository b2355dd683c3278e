"""A release: one folder with all products of a run, and one card."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import logging
from etils import epath

from jaxpriv.data import account, alignment
from jaxpriv.data.records import DataError
from jaxpriv.release import card
from jaxpriv.release import photographs as photographs_lib
from jaxpriv.release.features import FEATURES
from jaxpriv.release.folder import Folder
from jaxpriv.release.images import IMAGES
from jaxpriv.release.model import MODEL
from jaxpriv.release.photographs import Input
from jaxpriv.release.product import Job, Product
from jaxpriv.release.whole import WHOLE
from jaxpriv.reports import card as card_lib
from jaxpriv.training import mechanism, run
from jaxpriv.training import workdir as workdir_lib
from jaxpriv.training.mechanism import Target, Trained

PRODUCTS = {product.name: product for product in (IMAGES, FEATURES, MODEL)}


def release(
  workdir: epath.PathLike,
  output: epath.PathLike,
  mesh: jax.sharding.Mesh,
  place: Input | None = None,
) -> None:
  """Makes the folder of a release, whole or not at all.

  Interrupted, the same call goes on where a product can, and starts the others
  anew.

  Args:
    workdir: a run, trained to its end.
    output: the folder to make.
    mesh: the mesh.
    place: the photographs to protect; None where no product takes any.

  Raises:
    ConfigMismatchError: another version of jaxpriv wrote the run.
    DataError: the run may not be released, or not of this input, or something
      else is in the way.
    FileNotFoundError: it is not trained to its end.
    ResultsError: its evaluation cannot be read.
  """
  workdir, folder = epath.Path(workdir), Folder(epath.Path(output))
  folder.check()
  if place:
    _check_apart(place, folder.output)
  target = load(workdir, mesh)
  whole = place.whole if place else None
  products = products_of(target, bool(whole))
  _check_input(target, products, place)
  card.released_config(target.config)  # refused now, not when all is written
  photographs = (
    photographs_lib.open_input(place, target, workdir) if place else None
  )
  if photographs:
    mechanism.fitting([target], photographs.labels())
  parameters = target.trained.sha256()
  results = card.results_of(workdir, target.config, parameters)
  job = Job(
    target, workdir, folder.partial, mesh, results, photographs, whole=whole
  )
  for product in products:
    product.check(job)
  if target.caution:
    logging.warning("%s", target.caution)
  if place and photographs and any(product.resumable for product in products):
    secret = folder.resume(
      photographs_lib.key(place, target, parameters, photographs.source)
    )
  else:
    secret = folder.start(products)
  if photographs:
    count = len(photographs.source)
    job = job._replace(order=photographs_lib.secret_order(secret, count))
  facts = {product.name: product.write(job) for product in products}
  content = card.write(job, parameters, products, facts)
  folder.publish()
  if place and photographs:
    account.tell(place.path, photographs.files())
  _tell(content, products, folder.output)


def load(workdir: epath.Path, mesh: jax.sharding.Mesh) -> Target:
  """Returns the target of a run that is released: the mechanism itself.

  Raises:
    DataError: it may not be released.
    FileNotFoundError: the run is not trained to its end.
  """
  config = workdir_lib.load_config(workdir)
  phases = tuple(mechanism.phases(config))
  states = run.load_phases(phases, config, workdir, mesh)
  target = mechanism.targets(config, Trained(phases, states))[0]
  if target.withheld:
    raise DataError(f"{workdir} {target.withheld}")
  return target


def products_of(target: Target, whole: bool = False) -> list[Product]:
  """The products of a target.

  Args:
    target: what is released.
    whole: of images, whole photographs.

  Raises:
    DataError: two of them write the same files, or there are no images to go
      into whole photographs.
  """
  products = [PRODUCTS[name] for name in target.products]
  if whole and IMAGES not in products:
    raise DataError(
      f"--whole: {target.name} makes no faces that could go into photographs"
    )
  if whole:
    products = [WHOLE if product is IMAGES else product for product in products]
  owners: dict[str, str] = {}
  for product in products:
    for name in product.files:
      if name in owners:
        raise DataError(
          f"{target.name} releases {owners[name]} and {product.noun}, which"
          f" both write {name}: it can release one of them"
        )
      owners[name] = product.noun
  return products


def _check_apart(place: Input, output: epath.Path) -> None:
  """Raises DataError if a release would be among the photographs."""
  above = [epath.Path(p).expanduser().resolve() for p in (place.path, output)]
  if above[0] in above[1].parents:
    raise DataError(
      f"--output: {output} is inside of --input, {place.path}: the next release"
      " would take protected images for photographs. Choose a folder outside"
    )


def _check_input(
  target: Target, products: Sequence[Product], place: Input | None
) -> None:
  method = target.config.method
  takers = [product for product in products if product.needs_input]
  align = target.config.data.align
  if place and place.whole and place.source != "folder":
    raise DataError(
      f"--whole takes photographs of a folder, not --source={place.source}"
    )
  if place and place.whole and not target.config.release.batch_size:
    raise DataError(
      f"--whole: {target.name} protects all people of a set at once, and faces"
      " of whole photographs are replaced some at a time"
    )
  if place and place.whole and align not in alignment.OF_FACES:
    raise DataError(
      f"--whole: this run frames faces by config.data.align={align}, which does"
      " not say where in a photograph they are: train with"
      f" {', '.join(alignment.OF_FACES)}"
    )
  if takers and not place:
    raise DataError(f"--input: {method} protects {takers[0].question}")
  if place and not takers:
    raise DataError(
      f"{method} protects the people it has learned from, not photographs:"
      " what it releases is the model. Leave --input out"
    )


def _tell(
  content: Mapping[str, Any], products: Sequence[Product], output: epath.Path
) -> None:
  if "counts" in content:
    counts = content["counts"]
    logging.info(
        "%d photographs protected; faces framed %s", counts["written"],
        card_lib.framed(content["framing"]),
    )  # fmt: skip
  nouns = " and ".join(product.noun for product in products)
  logging.info("Released in %s, with a card: %s", output, nouns)
