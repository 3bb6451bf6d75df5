"""Adds the segment labels of PartialSpoof to the utterances of its protocols."""

from mldg_jax.data import segment_files
from mldg_jax.data.corpora.listing import Listing, find
from mldg_jax.data.corpora.official_layouts import OfficialLayout
from mldg_jax.data.schema import Row
from mldg_jax.data.segment_labels import to_text


def with_frame_labels(listing: Listing, layout: OfficialLayout) -> Listing:
    """Reads the segment labels of every split.

    Args:
      listing: the utterances of the protocols.
      layout: of the corpus, with ``segments``.

    Returns:
      The listing with ``segments`` in its rows, and a problem for each file or label
      that is missing or contradicts the protocol.

    Raises:
      UserError: a file of segment labels cannot be read.
    """
    labels: dict[str, segment_files.Segments] = {}
    for split in dict.fromkeys(row.split for row in listing.rows):
        name = layout.segments.format(split=split)
        path = find(layout, listing.root, name)
        if path is None:
            listing.problems.append(f"{name} is missing. {layout.unpack}")
        else:
            labels[split] = segment_files.read_npy(path)

    def labelled(row: Row) -> Row:
        if row.split not in labels:
            return row
        parts = labels[row.split].get(row.utterance)
        if parts is None:
            listing.problems.append(f"{row.utterance} has no segment labels")
        elif bool(parts) != (row.label == "spoof"):
            listing.problems.append(
                f"{row.utterance} is {row.label}, but its segment labels say otherwise"
            )
            parts = () if row.label == "bonafide" else None
        return row._replace(segments=to_text(parts))

    return listing._replace(rows=[labelled(row) for row in listing.rows])
