"""The layouts of the official archives and the numbers of utterances they contain.

Counts are those of the protocols and of the papers that describe them; two subsets are
counted together if only their total was published.
"""

import dataclasses
from typing import NamedTuple

from mldg_jax.data import protocols


class ProtocolPart(NamedTuple):
    """One protocol file and the recordings it lists.

    Attributes:
      protocol: path of the file.
      audio: folder of the recordings; "" for the folder of the protocol.
      split: split of the utterances; "" if the lines name their subset.
    """

    protocol: str
    audio: str
    split: str = ""


class OfficialLayout(NamedTuple):
    """The layout of an official corpus's archives.

    Attributes:
      name: name of the corpus.
      parts: its protocols.
      places: folders, relative to the source, in which the parts may be.
      format: format of the protocols.
      counts: for each split (or two together, "one+other"), the official number of
        utterances by "bonafide" and attack, or by "bonafide" and "spoof".
      unpack: instructions on what to download and where to put it, for messages.
      lists: further official files with the name of an utterance on each line.
      repeats: true if the official protocol repeats lines.
      remark: known peculiarity of the archives, for the report.
      segments: path of the segment labels of a split, with {split}; "" if there are
        none.
    """

    name: str
    parts: tuple[ProtocolPart, ...]
    places: tuple[str, ...]
    format: protocols.ProtocolFormat
    counts: dict[str, dict[str, int]]
    unpack: str
    lists: tuple[str, ...] = ()
    repeats: bool = False
    remark: str = ""
    segments: str = ""


def _each(bonafide: int, first: int, last: int, spoof: int) -> dict[str, int]:
    """Returns counts with the same number of utterances for every attack."""
    attacks = {f"A{i:02d}": spoof for i in range(first, last + 1)}
    return {"bonafide": bonafide, **attacks}


_KEYS_2021 = "https://www.asvspoof.org/index2021.html"
_CM_2019 = "ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm"

ASVSPOOF2019_LA = OfficialLayout(
    name="asvspoof2019_la",
    parts=tuple(
        ProtocolPart(f"{_CM_2019}.{file}.txt", f"ASVspoof2019_LA_{split}/flac", split)
        for split, file in (
            ("train", "train.trn"),
            ("dev", "dev.trl"),
            ("eval", "eval.trl"),
        )
    ),
    places=("", "LA"),
    format=protocols.ASVSPOOF2019,
    counts={
        "train": _each(2_580, 1, 6, 3_800),
        "dev": _each(2_548, 1, 6, 3_716),
        "eval": _each(7_355, 7, 19, 4_914),
    },
    unpack="Unpack LA.zip from https://datashare.ed.ac.uk/handle/10283/3336 and give "
    "the folder LA, or the folder that contains it",
    remark="the archive's dev and eval folders also hold recordings of the ASV "
    "protocols",
)

ASVSPOOF2021_LA = OfficialLayout(
    name="asvspoof2021_la",
    parts=(ProtocolPart("keys/LA/CM/trial_metadata.txt", "flac"),),
    places=("", "ASVspoof2021_LA_eval", "LA-keys-full", "..", "../LA-keys-full"),
    format=protocols.ASVSPOOF2021_LA,
    counts={
        "eval": {"bonafide": 14_816, "spoof": 133_360},
        "progress+hidden_track": {"bonafide": 3_636, "spoof": 29_754},
    },
    unpack="Unpack ASVspoof2021_LA_eval.tar.gz from https://zenodo.org/records/4837263 "
    f"and, next to or inside it, the keys (LA-keys-full.tar.gz from {_KEYS_2021}), "
    "so that keys/LA/CM/trial_metadata.txt exists; give the folder of both",
    lists=("ASVspoof2021.LA.cm.eval.trl.txt",),
)

_DF = "ASVspoof2021_DF_eval"
ASVSPOOF2021_DF = OfficialLayout(
    name="asvspoof2021_df",
    parts=(ProtocolPart("keys/DF/CM/trial_metadata.txt", "flac"),),
    places=(
        *("", _DF, "DF-keys-full", "..", "../DF-keys-full"),
        *(f"{_DF}_part0{i}/{_DF}" for i in range(4)),
    ),
    format=protocols.ASVSPOOF2021_DF,
    counts={
        "eval": {"bonafide": 14_869, "spoof": 519_059},
        "progress+hidden_track": {"bonafide": 7_748, "spoof": 70_153},
    },
    unpack=f"Unpack {_DF}_part00 … part03.tar.gz from "
    "https://zenodo.org/records/4835108 into one folder and, next to or inside it, the "
    f"keys (DF-keys-full.tar.gz from {_KEYS_2021}), so that "
    "keys/DF/CM/trial_metadata.txt exists; give the folder of both",
    lists=("ASVspoof2021.DF.cm.eval.trl.txt",),
)

ASVSPOOF5 = OfficialLayout(
    name="asvspoof5",
    parts=(
        ProtocolPart("ASVspoof5.train.tsv", "flac_T", "train"),
        ProtocolPart("ASVspoof5.dev.track_1.tsv", "flac_D", "dev"),
        ProtocolPart("ASVspoof5.eval.track_1.tsv", "flac_E_eval", "eval"),
    ),
    places=(
        *("", "ASVspoof5_protocols"),
        *("ASVspoof5_train", "ASVspoof5_dev", "ASVspoof5_eval"),
    ),
    format=protocols.ASVSPOOF5,
    counts={
        "train": {"bonafide": 18_797, "spoof": 163_560},
        "dev": {"bonafide": 31_334, "spoof": 109_616},
        "eval": {"bonafide": 138_688, "spoof": 542_086},
    },
    unpack="Unpack ASVspoof5_protocols.tar.gz and all flac_T_*, flac_D_* and "
    "flac_E_*.tar from https://zenodo.org/records/14498691 into one folder and give "
    "that folder",
)

IN_THE_WILD = OfficialLayout(
    name="in_the_wild",
    parts=(ProtocolPart("meta.csv", "", "eval"),),
    places=("", "release_in_the_wild"),
    format=protocols.IN_THE_WILD,
    counts={"eval": {"bonafide": 19_963, "spoof": 11_816}},
    unpack="Unpack release_in_the_wild.zip from https://deepfake-total.com/in_the_wild "
    "and give the folder release_in_the_wild, or the folder that contains it",
)

FAKEAVCELEB = OfficialLayout(
    name="fakeavceleb",
    parts=(ProtocolPart("meta_data.csv", "", "eval"),),
    places=("", "FakeAVCeleb_v1.2", "FakeAVCeleb"),
    format=protocols.FAKEAVCELEB,
    counts={"eval": {"bonafide": 10_209, "spoof": 11_335}},
    unpack="Unpack FakeAVCeleb_v1.2 (request it at "
    "https://github.com/DASH-Lab/FakeAVCeleb) and give the folder with meta_data.csv",
    repeats=True,
    remark="meta_data.csv has 21,566 lines for 21,544 videos",
)

_CM_PARTIAL = "protocols/PartialSpoof_LA_cm_protocols/PartialSpoof.LA.cm"

PARTIALSPOOF = OfficialLayout(
    name="partialspoof",
    parts=tuple(
        ProtocolPart(f"{_CM_PARTIAL}.{split}.trl.txt", f"{split}/con_wav", split)
        for split in ("train", "dev", "eval")
    ),
    places=("", "database", "PartialSpoof", "PartialSpoof/database"),
    format=dataclasses.replace(
        # LA_0079 CON_T_0000000 - CON spoof
        protocols.ASVSPOOF2019,
        name="PartialSpoof protocol",
        suffix=".wav",
    ),
    counts={
        "train": {"bonafide": 2_580, "spoof": 22_800},
        "dev": {"bonafide": 2_548, "spoof": 22_296},
        "eval": {"bonafide": 7_355, "spoof": 63_882},
    },
    unpack="Unpack the archives of PartialSpoof v1.2 (database_train, database_dev, "
    "database_eval, database_protocols and database_segment_labels) from "
    "https://zenodo.org/records/5766198 into one folder and give the folder database, "
    "or the folder that contains it",
    remark="the protocols name no attacks: the spoof of a split is of one",
    segments="segment_labels/{split}_seglab_0.02.npy",
)
