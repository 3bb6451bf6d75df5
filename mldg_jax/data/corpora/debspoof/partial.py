"""DebSpoof partial: utterances of which only parts are spoofed.

It is made from a finished DebSpoof, without synthesis. A partial spoof is a bona fide
utterance in which one or two parts are replaced by parts of a spoof that copies the
same speaker; so its attacks are those that re-synthesise human speech. Bona fide
utterances are those of the source, and as many controls, in which the parts are from
another bona fide utterance of the speaker: a join alone is no sign of spoof. Split,
attack, family and speaker fold are the source's.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import check_folder, replacing
from mldg_jax.data.audio import from_flac, to_flac
from mldg_jax.data.corpora.debspoof import assembly, dataset, splice_audit
from mldg_jax.data.corpora.debspoof.splicing import Spliced, splice
from mldg_jax.data.corpora.debspoof.splits import seed_of
from mldg_jax.data.segment_labels import NONE, to_text

SIZES = {"partial": "small", "partial_full": "full"}
"""The size of DebSpoof that each size of partial is made from."""
MOST_PARTS = 2
TRIES = 4  # hosts that are tried for a donor
_TEXT = ("utterance", "attack", "speaker", "language", "codec", "licence")


class Utterance(NamedTuple):
    """An utterance of DebSpoof.

    Attributes:
      row: its metadata, all strings.
      samples: (samples,) int16 at 16 kHz.
    """

    row: dict[str, str]
    samples: np.ndarray


class Made(NamedTuple):
    """An utterance of the new corpus.

    Attributes:
      row: its metadata, all strings, with segment labels.
      samples: (samples,) int16 at 16 kHz.
      joins: positions of its joins in samples; empty for one of the source.
    """

    row: dict[str, str]
    samples: np.ndarray
    joins: Sequence[int] = ()


def build(size: str, data_dir: Path, **options) -> tuple[Path, str | None]:
    """Builds DebSpoof partial; first its source, unless that exists.

    Args:
      size: "partial" (from small) or "partial_full" (from full).
      data_dir: root of all corpora.
      **options: of ``assembly.build``, for the source.

    Returns:
      As ``assembly.build``.

    Raises:
      UserError: the source cannot be built, or its splits have too little to splice.
    """
    data_dir = Path(data_dir).absolute()
    target = dataset.corpus_folder(data_dir, size)
    if (target / "corpus.json").exists():
        return target, None
    check_folder(target)
    source, _ = assembly.build(SIZES[size], data_dir, **options)
    made = [x for split in dataset.SPLITS for x in spliced_split(read(source, split))]
    if not any(x.row["label"] == "spoof" for x in made):
        raise UserError(f"{source} has no spoof that copies a bona fide speaker")
    folder = dataset.build_folder(data_dir, size)
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    for x in made:
        with replacing(folder / "clips" / f"{x.row['utterance']}.flac") as part:
            part.write_bytes(to_flac(x.samples))
    dataset.write_rows(folder, [x.row for x in made])
    digest = corpus_hash(dataset.prepare(data_dir, size), made)
    result = splice_audit.audit(list(samples_of(made)))
    origin = json.loads((source / "corpus.json").read_text("utf-8"))
    report = f"{counts(made)}\n\n{splice_audit.table(result)}"
    (target / "report.txt").write_text(report + "\n", "utf-8")
    credits = (source / "ATTRIBUTION.md").read_text("utf-8")
    note = "Utterances are spliced from those that this text, of the source, counts.\n"
    (target / "ATTRIBUTION.md").write_text(f"{credits}\n{note}", "utf-8")
    summary = {
        "corpus_sha256": digest,
        "source_sha256": origin["corpus_sha256"],
        "clips": len(made),
        "audit": {
            "eer": result.eers,
            "by_attack": result.by_attack,
            "required": splice_audit.REQUIRED_EER,
            "passed": result.passed,
        },
        "versions": origin.get("versions", {}),
    }
    text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
    with replacing(target / "corpus.json") as part:
        part.write_text(text, "utf-8")  # last, because it marks a complete build
    return target, f"{report}\n{len(made)} utterances, sha256 {digest[:16]}"


def read(folder: Path, split: str) -> list[Utterance]:
    """Reads a split of DebSpoof with all of its metadata.

    Args:
      folder: of the corpus.
      split: its name.

    Returns:
      The utterances, in corpus order.
    """
    import tensorflow_datasets as tfds  # two seconds to import

    builder = tfds.builder_from_directory(str(folder))
    names = (*_TEXT, *dataset.DebSpoof.EXTRA)
    labels = builder.info.features["label"].names
    return [
        Utterance(
            {name: item[name].decode() for name in names}
            | {"label": labels[int(item["label"])], "split": split},
            from_flac(item["audio"]),
        )
        for item in builder.as_data_source(split)
    ]


def spliced_split(utterances: Sequence[Utterance]) -> Iterator[Made]:
    """Makes the utterances of a split.

    Args:
      utterances: of a split of DebSpoof.

    Yields:
      The bona fide utterances, a control for each, then the partial spoofs; each is a
      function of the utterances and its own name.
    """
    hosts = defaultdict(list)
    for x in utterances:
        if x.row["label"] == "bonafide":
            hosts[x.row["speaker"]].append(x)
            yield Made({**x.row, "segments": NONE}, x.samples)
    controls = [x for own in hosts.values() if len(own) > 1 for x in own]
    spoof = [x for x in utterances if x.row["label"] == "spoof"]
    numbers = Counter()
    for donor in (*controls, *(x for x in spoof if x.row["speaker"] in hosts)):
        attack = donor.row["attack"]
        kind = "control" if donor.row["label"] == "bonafide" else f"partial_{attack}"
        name = f"{donor.row['split']}_{kind}_{numbers[kind]:04d}"
        made = _spliced(name, donor, hosts[donor.row["speaker"]])
        if made is not None:
            numbers[kind] += 1
            yield made


def _spliced(name: str, donor: Utterance, hosts: Sequence[Utterance]) -> Made | None:
    """Puts parts of a donor into one of the hosts, if they fit any."""
    rng = np.random.default_rng(seed_of(name))
    others = [x for x in hosts if x.row["utterance"] != donor.row["utterance"]]
    for i in rng.permutation(len(others))[:TRIES]:
        host = others[i]
        count = int(rng.integers(1, MOST_PARTS + 1))
        spliced = splice(host.samples, donor.samples, count, rng)
        if spliced is not None:
            return Made(
                _row(name, host, donor, spliced), spliced.samples, spliced.joins
            )
    return None


def _row(
    name: str, host: Utterance, donor: Utterance, spliced: Spliced
) -> dict[str, str]:
    is_spoof = donor.row["label"] == "spoof"
    licences = dict.fromkeys((host.row["licence"], donor.row["licence"]))
    return {
        **host.row,
        **{x: donor.row[x] for x in ("label", "attack", "family")},
        "utterance": name,
        "text": "",
        "source": f"{host.row['utterance']} + {donor.row['utterance']}",
        "licence": "; ".join(licences),
        "segments": to_text(spliced.parts) if is_spoof else NONE,
    }


def samples_of(made: Sequence[Made]) -> Iterator[splice_audit.SplicedSample]:
    """Yields what the audit needs to know about each spliced utterance.

    Args:
      made: utterances of the corpus.
    """
    for x in made:
        if x.joins:
            row = x.row
            yield splice_audit.SplicedSample(
                row["split"],
                row["label"] == "bonafide",
                row["attack"],
                splice_audit.join_cues(x.samples, x.joins),
            )


def corpus_hash(builder: dataset.DebSpoof, made: Sequence[Made]) -> str:
    """Computes the hash that identifies the content of the corpus.

    Args:
      builder: the prepared corpus.
      made: its utterances.

    Returns:
      Hexadecimal SHA-256 of ``dataset.corpus_hash`` and of all segment labels.
    """
    parts = (dataset.corpus_hash(builder), *(x.row["segments"] for x in made))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def counts(made: Sequence[Made]) -> str:
    """Formats the numbers of utterances as a table for people.

    Args:
      made: utterances of the corpus.
    """
    kinds = Counter()
    for x in made:
        kind = x.row["attack"]
        if x.row["label"] == "bonafide":
            kind = "bona fide splice" if x.joins else "bona fide"
        kinds[kind, x.row["split"]] += 1
    lines = [f"{'utterances':<20}" + "".join(f"{x:>8}" for x in dataset.SPLITS)]
    for kind in dict.fromkeys(kind for kind, _ in kinds):
        cells = (kinds[kind, split] or "-" for split in dataset.SPLITS)
        lines.append(f"{kind:<20}" + "".join(f"{x:>8}" for x in cells))
    return "\n".join(lines)
