"""The views that a text names: anterior, posterior or another one, in the languages of the clinics.

English, French, German, Spanish, Italian, Portuguese and Chinese words, and the abbreviations that
cameras write. Words without a separator name one view: "L ANT OBL" and "Face ant gauche" are
oblique views, not anterior ones; "ANT, LAO, RAO" names an anterior and other views.
"""

import functools
import re
import unicodedata
from typing import Literal

View = Literal["anterior", "posterior", "other"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ANTERIOR = _words(
    "ant antr anter antero ap anteroposterior anteroposteriore anteroposterieur frontalansicht "
    "ventral ventrale vorn vorne vorderansicht vorderseite"
)
ANTERIOR_STEM = re.compile("anteri(or|eur|ur).*")
FACE = _words("face faccia enface frente front frontal frontale")
"""Anterior where no other view is named: a "face postérieure" is posterior."""
POSTERIOR = _words(
    "pa dorsal dorsale dorsalansicht dorso hinten hintere hinterer hinteransicht rueckansicht "
    "ruckansicht ruckseite rueckseite rucken ruecken derriere back espalda espaldas costas postero "
    "posteroanterior posteroanteriore posteroanterieur"
)
POSTERIOR_STEM = re.compile("posteri(or|eur).*")
OTHER = re.compile(
    # LAO, RPO, ...; OAD, OAG, OPI, ... of Romance languages; LVO, RHO, ... of German
    "[lr][apvh]o|o[ap][dgise]|a[lr]o|plo|ao[lr]|ll|rl|lld|rld|llo|rlo|tod|vertex|submental|mip"
    "|axiale?|transaxiale?|transvers(al|e)?|sagittale?|coronale?|caudale?|cranial|medial"
    "|tangential|tangentiell|quer|vertice|scheitel|[lr]vs|[lr]hs"
)
OBLIQUE = re.compile(
    # joins the words beside it to one view
    "obl.*|.+(obl|obli|oblique|obliqua|oblicua)|lats?|lat[lr]t?|[lr]t?lat|lat(izq|der)|[lr]?lateral.*"
    "|latero.*|(antero?|postero)(lat|obl).*|(l|r|lt|rt|left|right)(ant|post|lat)(erior|eral)?"
    "|ant[lr]t?|post[lr]t?|profile?|profilo|perfil|profilaufnahme|seitl.*|seiten.*|(links|rechts)lateral"
    "|(halb)?schra?eg.*|(halb)?schrag.*"
)
SIDES = _words(
    "l r lt rt lft rgt left right gauche droit droite g d links rechts li re linke rechte linker "
    "rechter izq izquierda izquierdo der derecha derecho dcha dch sinistra sinistro sin sn dx dex "
    "destra destro esq esquerda esquerdo dir direita direito"
)
"""Beside "ant" or "post" they name an oblique view, unless they are the side of a lobe or mark."""
OF_A_SIDE = _words("lobe lobes lobo lobos lappen marker side seite")
AFTER = _words(
    "inj inject injected injection injektion injeccion iniezione injecao dose thyroidectomy "
    "thyreoidektomie op operative surgery surgical therapy therapie terapia therapeutic treatment "
    "traitement tx rx ablation ablative rai rit radioiodine iodine iode jod i tc mtc void voiding "
    "wash washout drink water meal stimulation suppression perchlorate contrast processing "
    "processed proc min minutes h hr hrs hour hours day days week weeks month months tsh biopsy "
    "fna"
)
"""Before one of these, or a number, "post" means after."""
TIMES = _words("min mins minutes h hr hrs hour hours day days week weeks month months p")
"""Behind one of these, or a number, "post" may mean after, as in "20 min post"."""
VIEWED = _words(
    "view views static statics planar image images img proj projection spot neck det detector head "
    "incidence vue aufnahme bild vista veduta em"
)
"""Before one of these "post" means posterior, as it does at the end."""
ANGLE = re.compile(r"(\d+)\s*(?:deg|degrees?|grad|gradi|grados|graus|degres?)\b|(\d+)\s*度")
TURNED = re.compile(r"\b(?:l|r|lt|rt)\s?(?:30|40|45|60|90)\b(?!\s?(?:min|s|kc|mbq))")
ALONG = (0, 180, 360)
"""Degrees at which a view may be anterior, as cameras count from different positions."""

INITIALS = re.compile(r"\b([a-z])\.\s?([a-z])\.\s?([a-z])\b\.?")
FROM_BEHIND = re.compile(r"\bvue d[eu] dos\b")
FROM_THE_SIDE = re.compile(r"\bvon (?:der seite|links|rechts)\b")
THREE_QUARTERS = re.compile(
    r"\b3\s*/\s*4\s+(?=gauche|droit|left|right|links|rechts|izq|der|g\b|d\b)|\btrois[\s-]quarts\b"
    r"|\bthree[\s-]quarters?\b|\bdreiviertel|\btres cuartos\b|\btre quarti\b"
)
BOTH = re.compile(r"\ba\s*[/&+]\s*p\b")
ANTEROPOSTERIOR = re.compile(r"\bantero?[\s-]*posteri\w*|\ba[.-]\s?p\b")
POSTEROANTERIOR = re.compile(r"\bpostero?[\s-]*anteri\w*|\bp[.-]\s?a\b")
LISTED = re.compile(r"[,;/&+|、，；和与及]|\b(?:and|et|und|y|e)\b")
CHINESE: tuple[tuple[str, View], ...] = (
    # each is taken out of the text before the next is looked for
    ("前后位|前後位", "anterior"),
    ("后前位|後前位", "posterior"),
    (
        "斜|[侧側][位面卧]|[左右][侧側](?![叶葉颈頸])|[左右][前后後]位?|头顶位|轴位|矢状|冠状",
        "other",
    ),
    ("前[、/,和及与]?(?=[后後]位)|前位|正位|前面|正面|前视|前視|前方", "anterior"),
    ("[后後]位|[后後]面|背面|背位|背[侧側]|[后後]视|[后後]視|[后後]方", "posterior"),
)


@functools.lru_cache(maxsize=1024)
def views_in(text: str) -> frozenset[View]:
    """Return the views that a text names; none if it names none.

    "Post" also means "after": if it may mean either, it names no view.
    """
    decomposed = unicodedata.normalize("NFKD", re.sub("[°º]", " deg ", text))
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    plain = re.sub("(?<=[a-z])(?=[A-Z])", " ", plain).casefold()
    angles = {int(one or other) for one, other in ANGLE.findall(plain)}
    if angles - set(ALONG) or TURNED.search(plain):
        return frozenset(("other",))
    named: set[View] = set()
    if not plain.isascii():
        for pattern, view in CHINESE:
            plain, found = re.subn(pattern, " ", plain)
            named |= {view} if found else set()
    plain = INITIALS.sub(r"\1\2\3 ", plain)
    plain = FROM_BEHIND.sub(" posterior ", plain)
    plain = FROM_THE_SIDE.sub(" lateral ", plain)
    plain = THREE_QUARTERS.sub(" oblique ", plain)
    plain = BOTH.sub(" ant / posterior ", plain)
    plain = POSTEROANTERIOR.sub(" pa ", plain)
    plain = ANTEROPOSTERIOR.sub(" ap ", plain)
    parts = [re.findall("[a-z]+|[0-9]+", part) for part in LISTED.split(plain)]
    filled = [part for part in parts if part]
    for part in filled:
        named |= _views_of(part, last=part is filled[-1])
    return frozenset(named)


def _views_of(words: list[str], *, last: bool) -> set[View]:
    """Return the views that words between two separators name; `last`: no word follows them."""
    kinds = [_view_of(words, at, last=last) for at in range(len(words))]
    along = [at for at, kind in enumerate(kinds) if kind in ("anterior", "posterior")]
    beside = {near for at in along for near in (at - 1, at + 1) if 0 <= near < len(words)}
    on_a_side = any(
        words[at] in SIDES and not OF_A_SIDE & set(words[at + 1 : at + 2]) for at in beside
    )
    if {"side", "view"} <= set(words) or on_a_side or any(map(OBLIQUE.fullmatch, words)):
        return {"other"}
    named: set[View] = {kind for kind in kinds if kind}
    return named or ({"anterior"} if FACE & set(words) else set())


def _view_of(words: list[str], at: int, *, last: bool) -> View | None:
    word = words[at]
    if word in ANTERIOR or ANTERIOR_STEM.fullmatch(word):
        return "anterior"
    if word in POSTERIOR or POSTERIOR_STEM.fullmatch(word):
        return "posterior"
    if word != "post":
        return "other" if OTHER.fullmatch(word) else None
    following = words[at + 1] if at + 1 < len(words) else ""
    if following in AFTER or following.isdigit():
        return None
    before = words[at - 1] if at else ""
    beside_anterior = before in ANTERIOR
    ends = not following and last and before not in TIMES and not before.isdigit()
    return "posterior" if ends or following in VIEWED | SIDES or beside_anterior else None
