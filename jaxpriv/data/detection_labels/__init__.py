"""Labels of face detection sets: read, written, and brought to labels.csv.

`read` gives one `Annotation` for each picture, `write` takes them.

| format | files | holds besides boxes |
|---|---|---|
| wider | `wider_face_val_bbx_gt.txt` | attributes |
| wider_mat | `wider_face_val.mat`, MATLAB 5 to 7.2 | attributes, keep |
| retinaface | `label.txt` | landmarks, visibility, quality |
| voc | Pascal VOC, a folder of XML files | all |
| coco | COCO JSON | all |
| labels | labels.csv of a folder of scenes | landmarks, attributes, keep |

`lost` says what of a set a format does not hold. Besides:

* wider holds whole pixels; an unknown attribute is written as 0, since other
  programs take -1 for yes.
* wider_mat puts pictures of one folder together, and names only .jpg. The keep
  lists are files of their own: `wider_easy_val.mat`, medium and hard.
* retinaface and coco write a point of unknown visibility as seen. A point at
  (-1, -1) is unknown to retinaface, and so is a negative quality.
* voc and coco tell of a setting by its faces: in a set without any face none is
  known.
* labels leaves out faces that are not `valid` or at most one pixel large, since
  one of them makes its picture unusable there; seen or not is not told.
* Numbers are written to six decimals, but in full by wider_mat.

Boxes are x0, y0, x1, y1 in pixels, where pixel i reaches from i to i + 1. The
files of WIDER, RetinaFace and COCO hold x, y, w, h, which becomes x1 = x + w:
the box is w pixels wide and x1 is the first column beyond it. (The protocol by
which WIDER is scored takes x1 for a column inside, and adds 1 to widths; that
is done by `jaxpriv.metrics.wider`.) VOC's xmin, ymin, xmax, ymax are taken as
they are, as tools write them now. The challenge itself counted from 1 with both
ends inside: subtract 1 from xmin and ymin of its files.

VOC's `difficult`, COCO's `ignore` and `iscrowd`, and WIDER's `invalid` are one
attribute, `invalid`: to find such a face is neither right nor wrong.
"""

from jaxpriv.data.detection_labels.annotations import (
  ATTRIBUTES,
  SETTINGS,
  Annotation,
  Face,
  annotation,
  faces,
)
from jaxpriv.data.detection_labels.formats import (
  FORMATS,
  Guess,
  guess,
  guess_by_name,
  lost,
  read,
  targets,
  write,
)
from jaxpriv.data.detection_labels.sets import (
  Counts,
  count,
  missing,
  some,
  with_sizes,
)
from jaxpriv.data.detection_labels.table import to_labels_csv

__all__ = (
  "ATTRIBUTES",
  "Annotation",
  "Counts",
  "FORMATS",
  "Face",
  "Guess",
  "SETTINGS",
  "annotation",
  "count",
  "faces",
  "guess",
  "guess_by_name",
  "lost",
  "missing",
  "read",
  "some",
  "targets",
  "to_labels_csv",
  "with_sizes",
  "write",
)
