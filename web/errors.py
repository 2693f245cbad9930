"""One kind of answer for everything that goes wrong: a page in plain words with a way back, or JSON for programs."""

from __future__ import annotations

import structlog
from flask import Flask, Response, g, jsonify, make_response, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from core.errors import BusinessError
from merchants.models import StaffRole
from web.auth.access import drop_request
from web.language import refusal_text
from web.security import upload_limit

log = structlog.get_logger(__name__)

RETRY_AFTER_S = "5"
TOO_LARGE = 413

WORDS = {
    400: (_l("请求不对"), _l("这个请求我们看不懂，请返回后再试一次。")),
    401: (_l("请先登录"), _l("您还没有登录，或者登录已经过期。")),
    403: (_l("这里不对您开放"), _l("您的账号没有打开这个页面的权限。需要的话，请联系运营人员。")),
    404: (_l("没有找到这个页面"), _l("它可能已经搬走，或者网址少了几个字。")),
    405: (_l("不能这样打开"), _l("请从页面上的按钮进入。")),
    409: (_l("现在还不能这样做"), _l("情况已经变了，请刷新页面看看最新的状态。")),
    410: (_l("已经失效"), _l("这个链接已经用过或者过期了。")),
    413: (_l("内容太大了"), _l("请换一个小一点的文件，或者把文字分几次提交。")),
    415: (_l("格式不支持"), _l("请从页面上的表单提交。")),
    422: (_l("有内容填得不对"), _l("请返回检查一下再提交。")),
    429: (_l("操作太快了"), _l("请歇一分钟再试。")),
    500: (_l("出了点问题"), _l("是我们这边的错，已经记下来了。请过一会儿再试。")),
    503: (_l("系统正忙"), _l("刚才的操作没有生效，请过几秒再试一次。")),
}
"""What people read for each status: a heading, and what to do."""


def register(app: Flask) -> None:
    """Answer every kind of failure here and nowhere else."""
    app.register_error_handler(BusinessError, refused)
    app.register_error_handler(CSRFError, form_expired)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(OperationalError, unavailable)
    app.register_error_handler(PoolTimeout, unavailable)
    app.register_error_handler(Exception, our_fault)


def refused(error: BusinessError) -> ResponseReturnValue:
    """A rule said no: its own words, its own status."""
    response = answer(error.status, code=error.code, advice=refusal_text(error))
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def form_expired(_error: CSRFError) -> ResponseReturnValue:
    """A form without its token: old, or not ours."""
    return answer(403, code="form_expired", heading=_("页面放得太久了"), advice=_("请返回上一页，刷新之后再提交一次。"))


def http_error(error: HTTPException) -> ResponseReturnValue:
    """Whatever Flask or a view aborted with."""
    if error.response is not None:
        return error.response
    response = answer(error.code or 500, advice=too_large() if error.code == TOO_LARGE else None)
    for name, value in error.get_headers():
        if name.lower() in {"allow", "retry-after"}:
            response.headers[name] = value
    return response


def too_large() -> str | None:
    """How large a file may be where one was expected."""
    limit = upload_limit()
    return None if limit is None else _("文件最多 %(size)s MB，请换一个小一点的。", size=f"{limit / 1024**2:g}")


def unavailable(error: Exception) -> ResponseReturnValue:
    """The database is away or too busy; nothing was kept, so trying again is safe."""
    log.warning("database unavailable", error=type(error).__name__, endpoint=request.endpoint)
    response = answer(503)
    response.headers["Retry-After"] = RETRY_AFTER_S
    return response


def our_fault(error: Exception) -> ResponseReturnValue:
    """A bug: the log has the story, the visitor an apology and nothing of the inside (AU-6)."""
    log.error("request failed", endpoint=request.endpoint, method=request.method, exc_info=error)
    return answer(500)


def answer(status: int, *, code: str | None = None, heading: str | None = None, advice: str | None = None) -> Response:
    """The page, or JSON where a program asked; what the request had begun is rolled back first."""
    drop_request()
    own_heading, own_advice = WORDS.get(status, WORDS[500] if status >= 500 else WORDS[400])
    if wants_json():
        body = {"error": code or f"http_{status}", "message": str(advice or own_advice)}
        return make_response(jsonify(body), status)
    page = render_template(
        "errors/error.html",
        status=status,
        heading=heading or own_heading,
        advice=advice or own_advice,
        way_back=way_back(),
    )
    return make_response(page, status)


def wants_json() -> bool:
    """Programs say so; browsers ask for HTML first."""
    return request.accept_mimetypes.best_match(["text/html", "application/json"], default="text/html") == (
        "application/json"
    )


def way_back() -> str:
    """Where this visitor feels at home."""
    staff = g.get("staff")
    if staff is None:
        return "/m/" if request.path.startswith("/m/") else "/"
    return home_of(staff.role)


def home_of(role: StaffRole) -> str:
    """The first page of a role."""
    return "/operator/" if role is StaffRole.OPERATOR else "/merchant/"
