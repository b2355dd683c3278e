"""Parrot recognition: a recogniser goes on to learn from protected images.

Newton, Sweeney, Malin, TKDE 17(2), 2005. It knows undisguised faces already,
which is a stronger attacker than one that begins from nothing.
"""

from collections.abc import Iterator

from jaxpriv.attacks import reidentification
from jaxpriv.attacks.threat import People
from jaxpriv.metrics.finding import Finding
from jaxpriv.training.mechanism import Target

PRODUCTS = ("image",)


def attack(target: Target, people: People) -> Iterator[Finding]:
  """Trains on protected images of attackers; scored on those of test people."""
  independent = people.recogniser()
  plain = reidentification.undisguised(
    people.read(independent), people.test.identities
  )
  options = people.options.phases.parrot
  phase = people.recogniser_phase(f"parrot_{target.name}", options)
  state = people.train(
    phase,
    people.image(target, people.known),
    options,
    people.recogniser_settings(),
    start=people.recogniser_state(),
  )
  reader = people.reader(
    f"{people.options.recogniser.architecture} trained on protected images",
    phase.method.outputs.embed,
    state,
  )
  shown = people.image(target, people.test)
  ranks = reidentification.parrot(reader.read(shown), people.test.identities)
  for rank in ranks:
    yield reidentification.disguised_finding(
      target, rank, reader, plain, reference=independent.name
    )
