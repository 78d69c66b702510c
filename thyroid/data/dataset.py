"""The data set on disk: dataset.json, images.csv and counts.npy in one folder."""

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from thyroid.errors import InputError
from thyroid.files import new_folder, sha256_of

FORMAT_VERSION = 1

FILES = ("dataset.json", "images.csv", "counts.npy")

COLUMNS = (
    "image_id",  # unique in the data set
    "patient_id",  # keyed hash; splits are by patient
    "centre",
    "label",  # the primary finding
    "findings",  # ";"-joined, the primary first; more than one makes a cross image
    "source",  # import | phantom | synthetic
    "total_counts",  # inside the field; 0 for display-scaled pictures
    "pixel_mm",  # pixel size of the stored matrix; empty for display-scaled pictures
    "flags",  # ";"-joined, see FLAGS
)

OFFICIAL_PART = "official_part"
"""A last column that a data set may have: the part of its publisher's split, one of PARTS."""
PARTS = ("train", "validation", "test")

PATIENT_LIKE = "patient_like="
"""Prefix of the flag that contains a patient's name without leading zeros or ".0"; see FLAGS."""

FLAGS = {
    "simulated": "made by the simulator, no patient was involved",
    "patient_unnamed": "nothing names its patient: it counts as a patient of its own",
    "patient_by_study": "no patient is named: images of one study count as one patient's",
    "patient_like": "patient_like=P: without leading zeros or .0 its patient would be P",
    "counts_outside": "counts_outside=N: N counts lay outside the stored field",
    "padded": "the source's field is smaller than the stored field, which is zero around it",
    "saturated": "many pixels share the highest value",
    "whole_body": "cut from the centre of a whole-body image",
    "summed_dynamic": "frames, or the sum of them, of a dynamic acquisition",
    "view_unnamed": "nothing names its view, which was taken for anterior",
    "detector_angle": "called anterior, but its detector stood at the patient's side",
    "window_unnamed": "radionuclide or window is not named: perhaps not the photopeak",
    "other_examination": "it names the tracer, or part of the body, of another scan",
    "counts_doubtful": "its values look rescaled or smoothed: perhaps no counts",
    "counts_accumulated": "the header's CountsAccumulated is not the sum of the pixels",
    "colour": "a coloured picture, reduced to its brightness",
    "white_is_zero": "stored with white as zero: inverted, so that black is zero",
    "light_background": "its border is light: perhaps inverted grey, or a flood source",
}


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Properties of all images of a data set: the content of dataset.json."""

    name: str
    classes: tuple[str, ...]
    """Class names in the order of label indices and of multi-hot columns."""
    size: int
    """Rows and columns, pixels."""
    pixel_mm: float | None
    """Pixel size in mm; None for display-scaled pictures, whose pixel size is unknown."""
    kind: Literal["counts", "display"]
    """`counts` are photon counts; `display` intensities have their full scale at 65,535."""
    source: str
    licence: str
    sha256: str
    """SHA-256 of counts.npy."""
    patients_key: str | None = None
    """Fingerprint of the key that names the patients: data sets with the same fingerprint give a
    patient the same name. None if no other data set has the key, or some patients are unnamed."""
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """An opened data set. `counts` is a read-only memory map: slicing it reads from disk."""

    folder: Path
    info: DatasetInfo
    images: pd.DataFrame
    """One row per image, with a RangeIndex, the columns of COLUMNS and perhaps OFFICIAL_PART."""
    counts: npt.NDArray[np.uint16]
    """(N, H, W)."""

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = True) -> "Dataset":
        """Open and check a data set; with `verify` also check the SHA-256 of counts.npy.

        Raises
        ------
        InputError : the folder is no data set, or its files contradict each other.
        """
        folder = Path(folder)
        info = _read_info(folder)
        images = _read_images(folder, info)
        counts = _map_counts(folder, info, len(images))
        if verify and sha256_of(folder / "counts.npy") != info.sha256:
            raise InputError(
                f"{folder / 'counts.npy'} is not the file that dataset.json describes (SHA-256 "
                "differs): it was changed or damaged; restore it or import again"
            )
        return cls(folder=folder, info=info, images=images, counts=counts)

    def __len__(self) -> int:
        return len(self.images)

    def _repr_html_(self) -> str:
        from thyroid.data.dataset_html import dataset_html

        return dataset_html(self)

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """Index of each label in info.classes, (N,)."""
        codes, names = pd.factorize(self.images["label"])
        index = np.array([self.info.classes.index(name) for name in names], dtype=np.int64)
        return index[codes]

    @cached_property
    def findings(self) -> npt.NDArray[np.float32]:
        """Multi-hot findings, (N, C): 1 where the image shows the class."""
        codes, combinations = pd.factorize(self.images["findings"])
        multi_hot = np.zeros((len(combinations), len(self.info.classes)), dtype=np.float32)
        for row, findings in enumerate(combinations):
            multi_hot[row, [self.info.classes.index(name) for name in findings.split(";")]] = 1
        return multi_hot[codes]

    @cached_property
    def is_cross(self) -> npt.NDArray[np.bool_]:
        """True where the image shows more than one class, (N,)."""
        return self.images["findings"].str.contains(";", regex=False).to_numpy(dtype=np.bool_)

    @cached_property
    def patients(self) -> npt.NDArray[np.object_]:
        """Patient identifiers, str, (N,)."""
        return self.images["patient_id"].to_numpy(dtype=object)

    @cached_property
    def patients_like(self) -> npt.NDArray[np.object_]:
        """Patient identifiers as they would be without leading zeros or ".0" in names, (N,)."""
        like = self.images["flags"].str.extract(rf"(?:^|;){PATIENT_LIKE}([0-9a-f]+)")[0]
        return like.fillna(self.images["patient_id"]).to_numpy(dtype=object)

    @property
    def official_parts(self) -> npt.NDArray[np.object_] | None:
        """Part of each image in the publisher's split, (N,); None without such a split."""
        if OFFICIAL_PART not in self.images:
            return None
        return self.images[OFFICIAL_PART].to_numpy(dtype=object)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that can change a result; identifies the data set in stage keys."""
        identity = {
            "classes": self.info.classes,
            "kind": self.info.kind,
            "pixel_mm": self.info.pixel_mm,
            "images": sha256_of(self.folder / "images.csv"),
            "counts": self.info.sha256,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def write_dataset(
    folder: str | Path,
    *,
    name: str,
    classes: Iterable[str],
    size: int,
    pixel_mm: float | None,
    kind: Literal["counts", "display"],
    source: str,
    licence: str,
    images: pd.DataFrame,
    counts: Iterable[npt.NDArray[np.uint16]],
    patients_key: str | None = None,
) -> Dataset:
    """Write a data set and open it. It appears all at once or not at all.

    Parameters
    ----------
    images : table with the columns of COLUMNS, and perhaps OFFICIAL_PART, one row per matrix.
    counts : one (size, size) uint16 matrix per row of `images`, consumed one at a time.

    Raises
    ------
    InputError : the folder exists, or cannot be written, or the rows contradict `classes`.
    """
    folder = Path(folder)
    columns = [*COLUMNS, *({OFFICIAL_PART} & set(images.columns))]
    images = images.loc[:, columns].reset_index(drop=True)
    with new_folder(folder) as unfinished:
        with (unfinished / "counts.npy").open("w+b") as file:
            _write_counts(file, counts, shape=(len(images), size, size))
        info = DatasetInfo(
            name=name,
            classes=tuple(classes),
            size=size,
            pixel_mm=pixel_mm,
            kind=kind,
            source=source,
            licence=licence,
            sha256=sha256_of(unfinished / "counts.npy"),
            patients_key=patients_key,
        )
        images.to_csv(unfinished / "images.csv", index=False, lineterminator="\n")
        content = json.dumps(dataclasses.asdict(info), indent=2, ensure_ascii=False) + "\n"
        (unfinished / "dataset.json").write_text(content, encoding="utf-8")
        Dataset.open(unfinished, verify=False)  # a data set that cannot be opened is not written
    return Dataset.open(folder, verify=False)


def _write_counts(
    file: BinaryIO, counts: Iterable[npt.NDArray[np.uint16]], *, shape: tuple[int, int, int]
) -> None:
    # plain writes: on a full disk a memory map would end the process with SIGBUS
    file.write(_npy_header(shape))
    for matrix, _ in zip(counts, range(shape[0]), strict=True):
        if matrix.shape != shape[1:] or matrix.dtype != np.uint16:
            raise ValueError(f"expected {shape[1:]} uint16, got {matrix.shape} {matrix.dtype}")
        file.write(np.ascontiguousarray(matrix, dtype="<u2").tobytes())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{path.parent} is not a data set (it has no {path.name}); make one with `thyroid "
            "import` or `thyroid phantom`"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; check the path and its permissions"
        ) from error


def _read_info(folder: Path) -> DatasetInfo:
    path = folder / "dataset.json"
    try:
        content: dict[str, Any] = json.loads(_read(path))
        if content.get("format_version", 0) > FORMAT_VERSION:
            raise InputError(
                f"{path} has format version {content['format_version']} but this version of "
                f"thyroid reads up to {FORMAT_VERSION}; install a newer version"
            )
        info = DatasetInfo(**{**content, "classes": tuple(content["classes"])})
        well_typed = (
            all(isinstance(text, str) for text in (info.name, info.source, info.licence))
            and all(isinstance(name, str) and name.isprintable() for name in info.classes)
            and all(info.classes)
            and len(set(info.classes)) == len(info.classes) > 0
            and type(info.size) is int
            and info.size > 0
            and info.kind in ("counts", "display")
            and isinstance(info.sha256, str)
            and isinstance(info.patients_key, str | None)
            and (info.pixel_mm is None) == (info.kind == "display")
            and (info.pixel_mm is None or 0 < float(info.pixel_mm) < 1000)
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        well_typed = False
    if not well_typed:
        raise InputError(
            f"{path} does not describe a data set (damaged JSON, or fields that are missing, "
            "unknown or of the wrong type); restore it or import again"
        )
    return info


def _read_images(folder: Path, info: DatasetInfo) -> pd.DataFrame:
    path = folder / "images.csv"
    table = _parse(_read(path), path)
    images: pd.DataFrame = table.to_pandas()
    nameless = (images["image_id"] == "") | (images["patient_id"] == "")
    if nameless.any():
        raise InputError(
            f"{path}, row {_first(nameless)}, has an empty image_id or patient_id; "
            "restore it or import again"
        )
    wrong = {}
    for label, findings in _combinations(table.column("label"), table.column("findings")):
        named = findings.split(";")
        unknown = sorted(set(named) - set(info.classes))
        if unknown:
            problem = f"names {unknown[0]!r}, which is no class of dataset.json"
        elif named[0] != label or len(set(named)) != len(named):
            problem = f"has findings {findings!r}, which must start with the label {label!r}"
        else:
            continue
        wrong[_first((images["label"] == label) & (images["findings"] == findings))] = problem
    if wrong:
        row = min(wrong)
        raise InputError(f"{path}, row {row}, {wrong[row]}; restore it or import again")
    if len(table.column("image_id").unique()) < len(table):
        row = _first(images["image_id"].duplicated())
        raise InputError(f"{path}, row {row}, repeats an image_id; restore it or import again")
    if OFFICIAL_PART in images:
        _require_apart(images, path)
    return images


def _require_apart(images: pd.DataFrame, path: Path) -> None:
    """Check that the official parts are known ones and share no patient."""
    parts = images[OFFICIAL_PART]
    unknown = ~parts.isin(PARTS)
    if unknown.any():
        raise InputError(
            f"{path}, row {_first(unknown)}, has an {OFFICIAL_PART} that is none of "
            f"{', '.join(PARTS)}; restore it or import again"
        )
    several = parts.groupby(images["patient_id"]).transform("nunique") > 1
    if several.any():
        raise InputError(
            f"{path}, row {_first(several)}, has a patient in two official parts; remove the "
            "patient's images from one of them"
        )
    missing = {"train", "test"} - set(parts)
    if missing:
        raise InputError(
            f"{path} has an official split without a {min(missing)} part; remove the column "
            f"{OFFICIAL_PART}"
        )


def _parse(content: bytes, path: Path) -> pa.Table:
    """Parse images.csv with Arrow, which takes an eighth of the time of pandas' own parser."""
    named = ",".join(COLUMNS)
    if content[:200].strip() in (named.encode(), f"{named},{OFFICIAL_PART}".encode()):
        raise InputError(f"{path} lists no images; import again")
    text = dict.fromkeys((*COLUMNS, OFFICIAL_PART), pa.large_string())
    try:
        table = csv.read_csv(
            pa.BufferReader(content),
            # a single block, so that no row lies in two
            read_options=csv.ReadOptions(
                use_threads=False, block_size=min(len(content) + 1, 2**30)
            ),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=text | {"total_counts": pa.int64(), "pixel_mm": pa.float64()},
                null_values=[""],
                strings_can_be_null=False,  # a class may be called "NA" or "null"
            ),
        )
        columns = tuple(table.column_names)  # raises if not UTF-8, which Arrow does not check
        if columns[: len(COLUMNS)] == COLUMNS and table.column("total_counts").null_count:
            raise ValueError("a row has no total_counts")
    except (ValueError, pa.ArrowException) as error:  # most of Arrow's errors are ValueErrors
        why = " ".join(str(error).split())
        raise InputError(
            f"{path} cannot be read as the table of a data set ({why}); restore it or import again"
        ) from None
    if columns not in (COLUMNS, (*COLUMNS, OFFICIAL_PART)):
        raise InputError(
            f"{path} has the columns {', '.join(columns)} instead of {', '.join(COLUMNS)}; "
            "restore it or import again"
        )
    return table


def _combinations(one: pa.ChunkedArray, other: pa.ChunkedArray) -> list[tuple[str, str]]:
    """Return the distinct pairs of values that the rows of two columns hold."""
    ones, others = (column.combine_chunks().dictionary_encode() for column in (one, other))
    width = len(others.dictionary)
    pairs = np.unique(ones.indices.to_numpy().astype(np.int64) * width + others.indices.to_numpy())
    first, second = ones.dictionary.to_pylist(), others.dictionary.to_pylist()
    return [(first[pair // width], second[pair % width]) for pair in pairs.tolist()]


def _first(condition: "pd.Series[bool]") -> int:
    """Return the number of the first row that meets the condition; the header is row 1."""
    return int(np.flatnonzero(condition)[0]) + 2


def _map_counts(folder: Path, info: DatasetInfo, rows: int) -> npt.NDArray[np.uint16]:
    path = folder / "counts.npy"
    shape = (rows, info.size, info.size)
    header = _npy_header(shape)
    try:
        with path.open("rb") as file:
            # the header is compared, not parsed: nothing in the file is interpreted
            agrees = file.read(len(header)) == header
        agrees = agrees and path.stat().st_size == len(header) + 2 * rows * info.size**2
    except FileNotFoundError:
        raise InputError(f"{folder} has no counts.npy; restore it or import again") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    if not agrees:
        raise InputError(
            f"{path} is not an NPY file of {shape} uint16, which images.csv and dataset.json "
            "describe; restore it or import again"
        )
    return np.memmap(path, dtype="<u2", mode="r", offset=len(header), shape=shape)


def _npy_header(shape: tuple[int, int, int]) -> bytes:
    header = io.BytesIO()
    content = {"descr": "<u2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, content)
    return header.getvalue()
