"""Numbers as people read them: rates, intervals, ratios, counts, sizes."""

import datetime
import math
from typing import TypeGuard

from jaxpriv.metrics.finding import Metric

NOTHING = "–"


def known(value: float | None) -> TypeGuard[float]:
  """Tells whether there is a number at all."""
  return value is not None and not math.isnan(value)


def percent(value: float | None, unit: str = "%") -> str:
  """Formats a rate in [0, 1]: 0.912 -> "91.2%", 0.0004 -> "0.04%"."""
  if not known(value):
    return NOTHING
  if not 0 < abs(value) < 0.001:
    return f"{value * 100:.1f}{unit}"
  decimals = 1 - math.floor(math.log10(abs(value) * 100))
  return f"{value * 100:.{decimals}f}".rstrip("0") + unit


def percent_at_most(value: float) -> str:
  """As `percent`, rounded up: for what is promised not to be exceeded."""
  return percent(min(math.ceil(value * 1000 - 1e-9) / 1000, 1.0))


def interval(low: float | None, high: float | None) -> str:
  """Formats both ends of a rate: 0.002, 0.012 -> "0.2 – 1.2%"."""
  return span(low, high, Metric("share"))


def points(difference: float) -> str:
  """Formats a difference of rates in percentage points: "+0.4", "−4.1"."""
  text = f"{difference * 100:+.1f}"
  return "±0.0" if float(text) == 0 else text.replace("-", "−")


def count(value: int) -> str:
  return f"{value:,}"


def of(hits: int | None, total: int) -> str:
  """Formats "12 / 1,000", or the number of trials alone."""
  return count(total) if hits is None else f"{hits:,} / {total:,}"


def real(value: float | None, digits: int = 3) -> str:
  """Formats any number to so many significant digits, without exponents where
  it can be read without one.
  """
  if not known(value):
    return NOTHING
  if math.isinf(value):
    return "∞" if value > 0 else "−∞"
  magnitude = 0 if not value else math.floor(math.log10(abs(value)))
  if not -4 <= magnitude < 7:
    return f"{value:.{digits - 1}e}".replace("-", "−")
  return f"{value:,.{max(0, digits - 1 - magnitude)}f}".replace("-", "−")


def at_most(value: float | None, digits: int = 3) -> str:
  """As `real`, rounded up: for what is promised not to be exceeded."""
  if not known(value) or math.isinf(value) or value <= 0:
    return real(value, digits)
  unit = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
  # The last of the sixteen digits of a float is no reason to go one up.
  return real(math.ceil(value / unit * (1 - 1e-12)) * unit, digits)


def plain(value: float) -> str:
  """Formats a plain number for a column: two decimals, more where they would
  be lost: 0.2171 -> "0.22", 0.0012 -> "0.001", 54321.0 -> "54,321".
  """
  if 0 < abs(value) < 0.005:
    return real(value, 1)
  return real(value, 5) if abs(value) >= 1000 else fixed(value, 2)


def fixed(value: float, decimals: int) -> str:
  """Formats to so many decimals, so that a column lines up."""
  text = f"{value:.{decimals}f}"
  return text.lstrip("-") if not float(text) else text.replace("-", "−")


def figure(value: float | None, metric: Metric, unit: bool = True) -> str:
  """Formats a value of a metric: "91.2%", "0.22", "3.1°", "11.5 dB".

  Args:
    value: to write.
    metric: whose unit it has.
    unit: whether to write the unit behind it.
  """
  if not known(value):
    return NOTHING
  match metric.unit:
    case "share":
      text, name = percent(value, ""), "%"
    case "degrees":
      text, name = fixed(value, 1), "°"
    case "dB" | "px":
      text, name = real(value), f" {metric.unit}"
    case "count":
      text, name = real(value, 7) if value % 1 else f"{value:,.0f}", ""
    case other:
      text, name = plain(value), f" {other}" if other else ""
  return text + name if unit else text


def span(low: float | None, high: float | None, metric: Metric) -> str:
  """Formats both ends of an interval: "0.2 – 1.2%", "0.69 – 0.73"."""
  if not (known(low) and known(high)):
    return NOTHING
  return f"{figure(low, metric, unit=False)} – {figure(high, metric)}"


def tick(value: float) -> str:
  """Formats a number beside an axis, without needless zeros: "0.75", "20k"."""
  if abs(value) >= 10_000:
    return f"{tick(value / 1000)}k"
  return f"{value:.4g}".replace("-", "−").replace("e−0", "e−")


def date(iso: str | None) -> str:
  """Formats an ISO time as "21 November 2026, 12:25"; other text stays."""
  try:
    moment = datetime.datetime.fromisoformat(iso or "")
  except ValueError:
    return iso or ""
  return f"{moment.day} {moment:%B %Y, %H:%M}"


def number(value: float) -> str:
  """Formats a whole number with commas, any other one as `real`."""
  return f"{value:,.0f}" if float(value).is_integer() else real(value)


def name(identifier: str, keep: bool = False) -> str:
  """Writes a name for people: "k_same" -> "K same"; `keep` leaves the k."""
  text = identifier.replace("_", " ").strip()
  if keep or text[1:2].isupper():  # as mAP
    return text
  return text[:1].upper() + text[1:]
