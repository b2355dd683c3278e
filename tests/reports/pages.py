"""What holds of every page that a report is."""

import html.parser
import re

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(html.parser.HTMLParser):
  """Notes tags, text and table rows; fails where tags do not match."""

  def __init__(self, text):
    super().__init__()
    self.open, self.tags, self.rows, self.words = [], [], [], []
    self.feed(text)
    assert not self.open, f"left open: {self.open}"

  def handle_starttag(self, tag, attributes):
    self.tags.append((tag, dict(attributes)))
    if tag == "tr":
      self.rows.append("")
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attributes):
    self.tags.append((tag, dict(attributes)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.words.append(data)
    if self.rows and "tr" in self.open:
      self.rows[-1] = f"{self.rows[-1]} {data.strip()}".strip()


def loads_nothing(text, page):
  assert "//" not in re.sub(r"data:image/png;base64,[\w+/=]+", "", text)
  tags = {tag for tag, _ in page.tags}
  assert not tags & {"script", "link", "iframe", "object", "form"}
  for tag, attributes in page.tags:
    assert attributes.get("href", "#").startswith("#")
    assert attributes.get("src", "data:image/png;").startswith(
      "data:image/png;"
    )
    assert not any(name.startswith("on") for name in attributes), tag
  assert "url(" not in text
  assert "@import" not in text
  (policy,) = [a["content"] for _, a in page.tags if "http-equiv" in a]
  assert "default-src 'none'" in policy


def links_lead_somewhere(page):
  identifiers = {a["id"] for _, a in page.tags if "id" in a}
  links = {a["href"][1:] for tag, a in page.tags if tag == "a"}
  assert links
  assert links <= identifiers
