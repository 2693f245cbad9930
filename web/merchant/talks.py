"""消息: every customer's chat with this merchant, fresh within a second while it is open, and the answers to it.

The list and the thread are asked for again every second or two and answered 304 by a row or two of the database while
nothing changed. Whatever is written carries a nonce, so that tapping twice sends once, and what was refused stays in
its field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from flask import Blueprint, Response, flash, g, jsonify, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import StringConstraints
from sqlalchemy.orm import Session

from bot.talks import answers, enquiries, media, reading
from bot.talks.models import ClosedBy, Direction, Kind, TalkState
from bot.talks.reading import Box, Row
from core import nonces
from core.clock import business_day
from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from merchants import pictures, staff
from merchants.models import StaffRole
from qrcodes import fans
from qrcodes.codes import new_public_id
from qrcodes.fans import FanRow
from web.acts import record
from web.auth.access import merchant_required
from web.context import now
from web.errors import wants_json
from web.exports import Cell, csv_answer, rows_from
from web.forms import Form, Paragraph, Submission, blank, read_form
from web.language import refusal_text
from web.live import asks_for_part, etag_of, has_seen
from web.merchant.fans import TAG_SEPARATORS, FanForm
from web.merchant.pictures import ENVELOPE, picture_url
from web.merchant.till import Nonce, giveable, new_nonce
from web.merchant.words import fan_number, show_refusal
from web.query import Id, Query, Words, read_query
from web.security import limiter, upload_cap
from wechat.limits import TEXT_MAX_BYTES

blueprint = Blueprint("merchant_talks", __name__, url_prefix="/merchant/talks")

HOME = "/merchant/talks"
PAGE = 40
THREAD = 50
