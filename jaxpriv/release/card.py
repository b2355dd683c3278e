"""The part of a run that is published beside its products: config, figures."""

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from absl import logging
from etils import epath
from ml_collections import ConfigDict

import jaxpriv
from jaxpriv.data.records import DataError
from jaxpriv.release.product import Facts, Job, Product
from jaxpriv.reports import card as card_lib
from jaxpriv.reports import results as results_lib
from jaxpriv.reports.results import Results
from jaxpriv.training import mechanism
from jaxpriv.training import workdir as workdir_lib

# Public name of the run that parameters were taken over from.
OTHER = "another run"

# Parts of a config that do not change the protected image, but for a few
# settings of "data" and "release"; see `_what_protects`.
APART = (*workdir_lib.MUTABLE, "data", "controls", "attacks")


# Keys of a description of data that name folders and files.
PRIVATE = ("path", "unreadable")


def results_of(
  workdir: epath.Path, config: ConfigDict, parameters: str
) -> Results | None:
  """Reads the results of launch.evaluate on these parameters.

  Args:
    workdir: the run.
    config: of it.
    parameters: their hash.

  Returns:
    the results; None, with a warning, if it was never evaluated.

  Raises:
    DataError: they are of other parameters or settings.
    ResultsError: the file cannot be read.
  """
  path = workdir / "evaluation" / "metrics.json"
  if not path.exists():
    logging.warning(
        "%s was never evaluated: the card will say that nothing shows that it"
        " protects. Run launch.evaluate first.", workdir,
    )  # fmt: skip
    return None
  results = results_lib.read(path)
  then = results.header.get("config", {})
  if results.header.get("parameters_sha256") != parameters or _what_protects(
    then
  ) != _what_protects(mechanism.public_config(config)):
    raise DataError(
      f"{path} was measured on other parameters or settings than those of"
      f" {workdir}: run launch.evaluate again"
    )
  return results


def _what_protects(config: Mapping[str, Any]) -> Any:
  """The settings of a public config that change the protected image."""
  chosen = {name: part for name, part in config.items() if name not in APART}
  data, release = config.get("data", {}), config.get("release", {})
  chosen["data"] = {name: data.get(name) for name in ("image_size", "align")}
  # k-Same averages within a batch.
  chosen["release"] = {"batch_size": release.get("batch_size")}
  return results_lib.plain(chosen)  # as a file holds it


def released_config(config: ConfigDict) -> dict[str, Any]:
  """The public config without the names of its owner's folders.

  Raises:
    DataError: config.release.withheld names an unknown setting.
  """
  public = mechanism.public_config(config)
  public["data"] |= {"path": "", "sets": (), "pools": ()}
  if "folder" in public.get("model", {}):
    public["model"]["folder"] = ""
  for options in public.get("attacks", {}).values():
    if "folders" in options:
      options["folders"] = ()
  public["pretrained"] = OTHER if config.pretrained else ""
  return public


def public_results(results: Results) -> Results:
  """The results without names of folders and files of the data."""
  header = {k: v for k, v in results.header.items() if k != "config"}
  if "data" in header:
    header["data"] = {
      k: v for k, v in header["data"].items() if k not in PRIVATE
    }
  guarantee = header.get("privacy")
  if guarantee:
    if guarantee.get("pretrained"):
      header["privacy"] = {**guarantee, "pretrained": OTHER}
    # How many people there are is taken for public; of photographs nothing is.
    if guarantee["unit"] == "person":
      header["data"] = _people_alone(header.get("data", {}))
  return results._replace(header=header)


def _people_alone(data: Mapping[str, Any]) -> dict[str, Any]:
  """A description of data without numbers of photographs."""
  return {
    key: _people_alone(part) if isinstance(part, Mapping) else part
    for key, part in data.items()
    if key not in ("images", "files")
  }


def write(
  job: Job,
  parameters: str,
  products: Iterable[Product],
  facts: Mapping[str, Facts],
) -> dict[str, Any]:
  """Writes card.json and CARD.md.

  Args:
    job: the release, all of whose products are written.
    parameters: their hash.
    products: what is released.
    facts: name of a product -> what it says of itself.

  Returns:
    what was written; see `jaxpriv.reports.card`.
  """
  content: dict[str, Any] = {
    "mechanism": job.target.name,
    "created": datetime.datetime.now(datetime.UTC).isoformat(),
    "version": jaxpriv.__version__,
    "products": dict(facts),
    "config": released_config(job.config),
    "parameters_sha256": parameters,
    "terms": job.config.release.terms,
    "proven": list(job.target.proven),
    "not_protected": list(job.target.limits),
    "results": public_results(job.results) if job.results else None,
  }
  if job.photographs:
    content |= {
      "counts": job.photographs.counts(),
      "files": job.photographs.files().counts(),
      "copies": job.photographs.copies,
      "unlabelled": list(job.photographs.lacking),
      "framing": job.photographs.framing(job.config.data.align),
      "found": job.photographs.found(),
      # Names of files may name people, and places in the input tell the order.
      "unreadable": [
        f"{name} is left out"
        for description in facts.values()
        for name in description.get("missing", ())
      ],
    }
  sections = [
    section
    for product in products
    for section in product.sections(facts[product.name])
  ]
  card_lib.write(job.directory, content, sections)
  return content
