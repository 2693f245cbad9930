"""What an address may ask for after its question mark: a typed model; anything else is refused (#84)."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, TypeVar

from flask import request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from core.errors import Invalid
from web.forms import NOT_FIELDS

LARGEST_ID = 2**63 - 1


class Query(BaseModel):
    """Search words, filters and the place in a list. Unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Words = Annotated[str, StringConstraints(strip_whitespace=True, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""What somebody typed into a search box."""


def id_of(text: str) -> int | None:
    """The id that a text spells; None where it spells none."""
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,17}", text) else None


def _as_ids_are_written(value: object) -> object:
    """Numbers have many spellings (1.0, +1, 01); an id has one (#68)."""
    if isinstance(value, str) and not (value.isascii() and value.isdecimal() and value[0] != "0"):
        raise ValueError("not an id")
    return value


Id = Annotated[int, BeforeValidator(_as_ids_are_written), Field(ge=1, le=LARGEST_ID)]
"""The last row of the page before, or the thing to look at."""

Day = Annotated[date, Field(ge=date(2020, 1, 1), le=date(2100, 1, 1))]
"""A day on which something may have happened here."""

RowKey = Annotated[str, StringConstraints(pattern=r"^\d{1,17}-\d{1,18}$")]
"""The place of a row in a list that is sorted by time, as `qrcodes.happenings.Key` writes it."""

QueryT = TypeVar("QueryT", bound=Query)


def read_query(model: type[QueryT]) -> QueryT:
    """This request's query, or the fields of the form that asks for an export; empty fields count as not given."""
    source = request.args if request.method == "GET" else request.form
    if any(len(items) > 1 for _name, items in source.lists()):
        raise Invalid("网址里的条件重复了，请返回再试。")
    given = {name: text for name, text in source.items() if text and name not in NOT_FIELDS}
    try:
        return model.model_validate(given)
    except ValidationError:
        raise Invalid("网址里的条件不对，请返回再试。") from None
