"""Phone numbers as neighbours dial them: a landline, a mobile, a 400 or 800 number, a short number."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from core.errors import Invalid

_SPACES: Final = re.compile(r"[\s()（）.·]+|[‐‑‒–—―－]")
_DIALLABLE: Final = re.compile(
    r"1[3-9]\d{9}"  # a mobile
    r"|0\d{2,3}[2-9]\d{6,7}(?:-\d{1,6})?"  # a landline with its area code, perhaps an extension
    r"|[2-9]\d{6,7}(?:-\d{1,6})?"  # a landline of this town
    r"|[48]00\d{7}(?:-\d{1,6})?"  # 400 and 800 numbers
    r"|1(?:1\d|2\d|6\d|0\d{3})"  # 110, 119, 120, 122, 10086 and their like
    r"|1[12]\d{3}|9[56]\d{3,4}"  # 12345, 11185, 95598, 96110, 951718
)


def tidy(phone: str) -> str:
    """A number in the one way it is stored and dialled; raises `Invalid` for what nobody could call.

    Of its hyphens the one before an extension stays: behind it another machine answers.
    """
    usual = unicodedata.normalize("NFKC", phone).strip()
    usual = _SPACES.sub(lambda gap: "-" if gap[0].strip() and gap[0] in "‐‑‒–—―－" else "", usual)
    usual = re.sub(r"转|[xX]|#|,", "-", usual)
    if usual.startswith("+86"):
        usual = usual[3:].lstrip("-")
    digits = usual.replace("-", "")
    parts = usual.split("-")
    # Hyphens within a number are taste; only what follows a whole number is an extension.
    for known in range(len(parts), 0, -1):
        number, rest = "".join(parts[:known]), "".join(parts[known:])
        whole = f"{number}-{rest}" if rest else number
        if _DIALLABLE.fullmatch(whole):
            return whole
    raise Invalid(
        "电话“%(phone)s”拨不通：请写手机、带区号的固话、400 电话或短号，例如 0551-65550000。",
        field="phone",
        phone=digits and phone.strip()[:30],
    )


def shown(phone: str) -> str:
    """A stored number as people write it: 0551-65550000, 400-820-8820; a mobile stays one piece, so that a chat makes
    it something to tap."""
    number, _, extension = phone.partition("-")
    if number.startswith(("400", "800")) and len(number) == 10:
        number = f"{number[:3]}-{number[3:6]}-{number[6:]}"
    elif number.startswith("0"):
        area = 3 if number[1] in "12" else 4
        number = f"{number[:area]}-{number[area:]}"
    return f"{number}-{extension}" if extension else number


def dialled(phone: str) -> str:
    """What stands behind tel: — the extension after a pause."""
    return phone.replace("-", ",")
