"""Made-up results for the tests of the reports; no figure is a measurement."""

import math
from typing import Any

from jaxpriv.metrics.finding import (
  HIDDEN,
  KEPT,
  METRICS,
  NOBODY,
  TOLD,
  Finding,
  Interval,
  Metric,
)
from jaxpriv.reports.results import Results, collect, decode, encode

MECHANISM = "embedded_autoencoder"
POISONING = "deep_poisoning"
MULTI_TASK = "dp_multitask"
FRESH, OWN = "independent VGG", "IResNet"
OTHER = "other photograph"
THRESHOLD = 0.4


def wilson(hits, total, z=1.959964):
  """Wilson's score interval from its defining quadratic, by its two roots."""
  rate = hits / total
  a, b, c = 1 + z * z / total, -(2 * rate + z * z / total), rate * rate
  root = math.sqrt(b * b - 4 * a * c)
  low, high = (-b - root) / (2 * a), (-b + root) / (2 * a)
  return min(max(low, 0.0), rate), max(min(high, 1.0), rate)


def ceiling(value, spread=0.02):
  return Interval(value, value - spread, value + spread)


def finding(claim, wanted, by, metric, value, **changes):
  """A finding of a mean; `spread` is half of its interval."""
  spread = changes.pop("spread", 0.012)
  fields: dict[str, Any] = dict(
    subject=MECHANISM, low=value - spread, high=value + spread, total=1000
  )
  where = changes.pop("where", {})
  fields |= changes
  return Finding(
    claim=claim, wanted=wanted, by=by, metric=metric, value=value,
    where=where, **fields,
  )  # fmt: skip


def rate(claim, wanted, by, hits, metric="rank-1", total=1000, **changes):
  """A finding of a rate."""
  low, high = wilson(hits, total)
  return finding(
    claim, wanted, by, metric, hits / total,
    **{"low": low, "high": high, "hits": hits, "total": total, **changes},
  )  # fmt: skip


def attack(by, hits, recogniser=FRESH, gallery=OTHER, **changes):
  """Rank-1 of an attack on identity."""
  used = {"used_in_loss": True} if recogniser == OWN else {}
  where = {"recogniser": recogniser, "gallery": gallery, **used}
  where |= changes.pop("where", {})
  best = ceiling(0.942 if recogniser == OWN else 0.871)
  fields = {"floor": 0.005, "ceiling": best, "where": where, **changes}
  return rate("identity", HIDDEN, by, hits, **fields)


def undisguised(hits, recogniser=FRESH):
  return attack(
    "undisguised", hits, recogniser, subject=NOBODY, ceiling=None
  )._replace(wanted=TOLD)


def attribute(name, hits, by="fresh VGG", wanted=KEPT, **changes):
  fields = {"floor": 0.6, "ceiling": ceiling(0.9), **changes}
  return rate(f"attribute {name}", wanted, by, hits, "accuracy", **fields)


def header(mechanism, products, **changes):
  return {
    "mechanism": mechanism,
    "created": "2026-03-02T10:05:00+00:00",
    "parameters_sha256": "ab" * 32,
    "config": {
      "seed": 3,
      "pen": {"margin": 0.5, "stages": [1, 2]},
      "evaluation": {"threshold_ssim": THRESHOLD},
    },
    "environment": {"python": "3.11", "devices": "8 cpu"},
    "data": {
      "source": "procedural",
      "people": {"train": 800, "attack": 200, "test": 200},
      "images": {"test": 1000},
      "unreadable": ["a <b>bad</b> & broken.jpg"],
    },
    "timing": {"train_seconds": 321.5},
    "products": products,
    **changes,
  }


def outputs(subject, hits, ssim, psnr):
  alike = dict(subject=subject, spread=0.0)
  return [
    rate("outputs", TOLD, "count", hits, "distinct", subject=subject),
    finding("likeness", TOLD, "pixels", "SSIM", ssim, **alike),
    finding("likeness", TOLD, "pixels", "PSNR", psnr, **alike),
  ]


def image_findings():
  """One mechanism that protects, and two controls that do not."""
  parrot = {
    "recogniser": "VGG trained on protected images",
    "reference": FRESH,
  }
  findings = [
    undisguised(871),
    undisguised(942, OWN),
    attack("naive", 5, OWN),
    attack("reverse", 3, OWN),
    attack("naive", 6),
    attack("reverse", 5, gallery="same photograph"),
    attack("parrot", 4, where=parrot),
  ]
  for name, hits in (("blur", 498), ("black_box", 2)):
    findings += [
      attack("naive", hits, subject=name),
      attack("reverse", hits + 3, subject=name, gallery="same photograph"),
    ]
  for name, change in ((MECHANISM, 0), ("blur", -190), ("black_box", -290)):
    findings += [
      attribute("Big_Nose", 893 + change, subject=name),
      attribute("Male", 941 + change, subject=name, ceiling=ceiling(0.95)),
    ]
  own = {"where": {"used_in_loss": True}, "ceiling": ceiling(0.91)}
  findings.append(attribute("Big_Nose", 905, "FSN", **own))
  findings += outputs(MECHANISM, 733, 0.2171, 11.46)
  findings += outputs("blur", 1000, 0.7133, 21.3)
  findings += outputs("black_box", 1, 0.2, math.inf)
  return findings


def images(findings=None, **changes):
  listed = image_findings() if findings is None else findings
  made = header(MECHANISM, ["image"])
  return collect({**made, **changes}, listed)


KNOWS = "Other people's photographs & <public> networks, and nothing else."


def rebuilt(by, ssim, pairs=None, hits=None, read=None, **changes):
  """What an attack rebuilds, with what is recognised and read in it."""
  subject = changes.pop("subject", POISONING)
  where = {"knows": KNOWS + (f" And {pairs} pairs." if pairs else "")}
  if pairs:
    where["pairs"] = pairs
  rows = [
    finding("appearance", HIDDEN, by, metric, value, **{
      "floor": 0.2, "ceiling": ceiling(0.85), "subject": subject,
      "where": where, **changes,
    })
    for metric, value in (("SSIM", ssim), ("aligned SSIM", ssim + 0.004))
  ] + [
    finding(
      "appearance", TOLD, by, metric, value, subject=subject, where=where,
      spread=spread,
    )
    for metric, value, spread in (
      ("|SSIM|", abs(ssim), 0.0), ("L1", 0.1234, 0.0), ("PSNR", 14.56, 0.0),
    )
  ]  # fmt: skip
  if hits is not None:
    place = {**where, "recogniser": FRESH}
    rows.append(
      rate(
        "identity", HIDDEN, by, hits, subject=subject, floor=0.005,
        ceiling=ceiling(0.871), where=place,
      )
    )  # fmt: skip
  if read is not None:
    place = {**where, "what": "hidden", "predictor": "VGG"}
    rows.append(
      finding(
        "attributes together", HIDDEN, by, "balanced accuracy", read,
        subject=subject, floor=0.5, ceiling=ceiling(0.931), where=place,
      )
    )  # fmt: skip
  return rows


def bounds():
  rows = [
    *rebuilt("clean features", 0.85, hits=702, read=0.894, subject=NOBODY),
    *rebuilt("another photograph", 0.14, hits=4, subject=NOBODY),
    *rebuilt("mean image", 0.2, subject=NOBODY),
  ]
  return [row._replace(wanted=TOLD, ceiling=None) for row in rows]


def leak(by, claim, hits, floor=0.005, best=0.9, **changes):
  metric = {"identity": "rank-1", "linkage": "link rate"}.get(claim, "accuracy")
  fields = {
    "subject": POISONING,
    "floor": floor,
    "ceiling": None if best is None else ceiling(best),
  }
  return rate(claim, HIDDEN, by, hits, metric, **(fields | changes))


def precision(by, what, value, wanted=KEPT, subject=POISONING):
  return finding(
    "attributes together", wanted, by, "mAP", value, spread=0.021,
    subject=subject, floor=0.482, ceiling=ceiling(0.934), total=200,
    where={"count": 6, "what": what},
  )  # fmt: skip


def feature_findings():
  """Features that known pairs give away, and two controls."""
  decided = dict(subject=POISONING, by="decider")
  return [
    *bounds(),
    *rebuilt("A0 inverter of the loss", 0.0071, hits=5, read=0.505),
    *rebuilt("A1 least squares", 0.19, 16),
    *rebuilt("A1 least squares", 0.22, 64),
    *rebuilt("A1 least squares", 0.31, 256),
    *rebuilt("A1 least squares", 0.71, 1024, hits=312, read=0.822),
    *rebuilt("A2 inverter", 0.42, 1024),
    *rebuilt("A3 transfer", 0.205, hits=6),
    *rebuilt("A0 inverter of the loss", 0.7, hits=402, subject="noise"),
    *rebuilt("A1 least squares", 0.18, 16, subject="keyed"),
    *rebuilt("A1 least squares", 0.19, 1024, subject="keyed"),
    leak("A7 linear probe", "identity", 121, best=0.71),
    leak("A7 MLP probe", "attribute Male", 655, 0.65, 0.96),
    leak("A7 MLP probe", "attribute Young", 890, 0.6, None),
    leak("A8 released twice", "linkage", 1000, best=None),
    leak("A7 linear probe", "identity", 5, subject="keyed"),
    precision("decider", "kept", 0.912),
    precision("A7 MLP probe", "hidden", 0.861, HIDDEN),
    precision("decider", "kept", 0.507, subject="noise"),
    attribute("Big_Nose", 893, **decided),
    attribute("Smiling", 941, ceiling=ceiling(0.95), **decided),
    attribute("Smiling", 702, **{**decided, "subject": "noise"}),
  ]


def features(findings=None, **changes):
  listed = feature_findings() if findings is None else findings
  made = header(POISONING, ["features"])
  return collect({**made, **changes}, listed)


PRIVACY = {
  "epsilon": 2.997,
  "delta": 1e-5,
  "relation": "add_or_remove_one",
  "accountant": "pld",
  "unit": "image",
  "units": 16000,
  "phases": [
    {
      "phase": "multi_task",
      "sampling_probability": 0.064,
      "noise_multiplier": 2.3461,
      "steps": 600,
      "clip_norm": 1.0,
      "group_clip_norms": {"log_variances": 0.3},
      "rows_per_unit": 4,
    }
  ],
  "not_private_phases": [],
  "pretrained": "",
}


def scores(subject=MULTI_TASK):
  fields = dict(subject=subject, total=100, spread=0.01)
  kept = lambda claim, metric, value, floor: finding(
    claim, KEPT, "model", metric, value, floor=floor, **fields
  )
  return [
    finding("detection", TOLD, "model", "AP", 0.9, **fields),
    kept("landmarks", "error / box side", 0.05, 0.12),
    kept("gender", "accuracy", 0.75, 0.6),
    kept("pose", "mean error", 5.0, 5.0),
    kept("pose", "within 15°", 0.93, 0.71),
  ]


def model(findings=None, **changes):
  listed = scores() if findings is None else findings
  made = header(MULTI_TASK, ["model"], privacy=PRIVACY)
  return collect({**made, **changes}, listed)


# A metric, claims, readers and columns that nobody here has heard of.
ENTROPY = Metric(
  "bits", slack=0.5, about="how much of a voice is left in the lips"
)


def stranger():
  """Images and a model in one run, attacked in ways of somebody else."""
  fields = dict(subject="mask_desensitization", total=50)
  pca = dict(floor=0.2, ceiling=ceiling(0.85), **fields)
  findings = [
    finding(
      "appearance", HIDDEN, "PCA inpainting", "SSIM", 0.2,
      where={"components": 128, "situation": "mask <known>"}, **pca,
    ),
    finding(
      "appearance", HIDDEN, "U-Net inpainting", "SSIM", 0.209,
      where={"situation": "mask guessed"}, **pca,
    ),
    finding(
      "voice of the lips", HIDDEN, "lip reader", "entropy", 3.25,
      floor=0.75, ceiling=ceiling(6.5, 0.5), spread=0.25, **fields,
    ),
    finding(
      "verification", KEPT, "masknet", "TAR at FAR 0.001", 0.951,
      floor=0.001, ceiling=ceiling(0.96), spread=0.02,
      where={"folds": 10}, **fields,
    ),
    finding("hue drift", TOLD, "colour meter", "ΔE", 0.00021, **fields),
  ]  # fmt: skip
  metrics = {
    **METRICS,
    "entropy": ENTROPY,
    "TAR at FAR 0.001": Metric("share"),
    "ΔE": Metric(less=True),
  }
  made = header("mask_desensitization", ["image", "model"])
  return collect(made, findings, metrics)


ALL: dict[str, Any] = {
  "images": images,
  "features": features,
  "model": model,
  "stranger": stranger,
}


def without(results: Results, *keys: str) -> Results:
  """The results, parts of the header left out."""
  kept = {k: v for k, v in results.header.items() if k not in keys}
  return results._replace(header=kept)


def checked(results: Results) -> Results:
  """The results as they are read from a file."""
  return decode(encode(results), "results")
