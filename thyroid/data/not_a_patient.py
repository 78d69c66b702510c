"""Recognises files of quality control and of sources, which show no patient, by their headers."""

import re
import unicodedata

from pydicom import Dataset as Header

from thyroid.data.header_values import get, items, text, values

TEXTS = (
    "SeriesDescription", "StudyDescription", "ProtocolName", "ImageID", "ImageComments",
    "RequestedProcedureDescription", "PerformedProcedureStepDescription", "PatientID",
    "BodyPartExamined",
)  # fmt: skip
WORDS = re.compile(
    r"\b(?:"
    # what stands before the camera
    r"syringes?|seringues?|spritzen?(?:messung)?|jering(?:uill)?as?|siringhe?|siringa|seringas?"
    r"|leerspritze|vollspritze"
    r"|vials?|flacon|point source|line source|sheet source|flood source|rod source|punktquelle"
    r"|flachenquelle|source ponctuelle|fuente (?:puntual|plana)|sorgente"
    r"|co ?57 (?:sheet|plane|source)|blank scan|dose calibration"
    r"|test ?source|standard source|test ?quelle"
    r"|[a-z]*phantoms?|fantom[aeo]?s?|[a-z]*phantome[sn]?|jaszczak|nema|ples|hine duley|maniqui"
    r"|fantocci[oa]?|dummy"
    # what is measured
    r"|floods?|flood ?field|flat ?field|uniformit(?:y|e|at?)(?! correct)|uniformidade?"
    r"|homogeneite|omogeneita|homogeneidade?|inhomogenitat|homogenitat|homogenitatsprufung"
    r"|field uniformity|gleichmassigkeit"
    r"|bars? (?:phantom|pattern|test|quadrants?)|quadrant(?:en)? ?bars?|(?:four|4) quadrants?"
    r"|4q bars?"
    r"|bleistreifen|streifenphantom|mire(?: de barres)?|barras|barre di piombo"
    r"|(?:spatial|intrinsic|extrinsic|system) (?:resolution|uniformity|linearity)"
    r"|resolution (?:phantom|test|check)|linearity|linearite|linearitat|linealidad|linearita"
    r"|center of rotation|centre of rotation|centro de rotacion|cor (?:calibration|test|check)"
    r"|rotationszentrum|peaking|photopeak check|energy calibration|calibration|kalibrierung"
    r"|etalonnage|calibracion|calibrazione|calibracao|sensitivity test|pixel size"
    r"|transmission|transmissionsmessung|tct|trans co ?57"
    r"|[a-z0-9]*qc|qa|cq (?:quotidien|journalier)|daily ?(?:qc|check|test)"
    r"|quality (?:control|assurance)|controle (?:de )?qualit[ey]"
    r"|controle de qualidade|control (?:de )?calidad|controllo (?:di )?qualita|qualitatskontrolle"
    r"|konstanzprufung|konstanz|room background|background count|untergrund|bruit de fond"
    r"|fondo ambiente|contamination|kontamination"
    r"|residual (?:dose|activity|syringe)|restaktivitat|activite residuelle|injection site"
    r"|injektionsstelle|capsules? (?:count|standard)s?|check source|test (?:pattern|object)"
    r")\b|(?:^|\| ?)"  # as the whole text
    r"(?:background|bkg|blank|dose|(?:qc |nm )?test(?: test| patient)?(?: ?\d*))(?: ?\||$)"
    "|注射器|针筒|满针|空针|均匀性|均勻性|泛源|铅栅|质控|質控|质量控制|體模|体模|模体|模型|分辨率测试|透射|点源|线源|本底"
)
FAMILIES = frozenset(("flood", "vial", "barras", "mire", "ples", "nema", "dummy", "flacon"))
"""Words that WORDS matches and that are family names, too."""
GIVEN = re.compile(r"[\d ]*|.*\b(?:daily|weekly|intrinsic|extrinsic|test|check|camera|co ?57)\b.*")
"""Matches given names that no person has."""
NO_COLLIMATOR = re.compile(
    r"none|intrinsic|open|(?:no|without|ohne|kein|sans|senza|sin|sem)\b.*|.*[无無没].*"
)
HUMAN = re.compile(r"homo sapiens|humans?|")
IMAGE_TYPES = ("TRANSMISSION", "FLOOD", "UNIFORM", "LINEARITY", "CALIB", "PHANTOM", "BAR", "QC")


def shows_no_patient(header: Header) -> str | None:
    """Return the reason why a file shows no patient, or None."""
    kinds = [str(value).upper() for value in values(get(header, "ImageType"))]
    if any(kind.startswith(name) for kind in kinds for name in IMAGE_TYPES):
        return "its ImageType is that of a transmission or quality-control image"
    if text(header, "QualityControlImage").upper() == "YES":
        return "its header calls it a quality-control image"
    if not HUMAN.fullmatch(text(header, "PatientSpeciesDescription").casefold().strip()):
        return "it shows an animal"
    texts = [said for name in TEXTS if (said := text(header, name))]
    texts.append(_no_person(text(header, "PatientName")))
    if WORDS.search(_plain(" | ".join(texts))):
        return "its header names a source, a phantom or a quality control, and no patient's image"
    detectors = items(header, "DetectorInformationSequence")
    if detectors and all(_without_collimator(item) for item in detectors):
        return "it was acquired without a collimator, as quality controls are"
    return None


def _without_collimator(detector: Header) -> bool:
    names = (get(detector, "CollimatorType"), get(detector, "CollimatorGridName"))
    return any(NO_COLLIMATOR.fullmatch(_plain(str(name)).strip()) for name in names if name)


def _no_person(name: str) -> str:
    """Return a patient's name, or "" where it may be a person's, such as Flood^John."""
    family, _, given = (_plain(part).strip() for part in name.partition("^"))
    of_person = not (GIVEN.fullmatch(given) or WORDS.search(given))
    return "" if family in FAMILIES and of_person else name


def _plain(text: str) -> str:
    """Return the text in lower case, without accents, words apart by one space."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()
    return re.sub(r"[\s_^\-./]+", " ", plain)
