"""The account's followers."""

from __future__ import annotations

from sandbox.api.call import OK, Answer, Call, Endpoint, Refused, one_of, require
from sandbox.jsontext import JsonObject
from sandbox.state import Person

LANGUAGES = ("zh_CN", "zh_TW", "en")
BATCH = 100
REMARK_CHARACTERS = 30


async def get(call: Call) -> Answer:
    """GET /cgi-bin/user/get: all openids, page by page, in an order that stays."""
    state, page = call.platform.state, call.platform.account.limits.user_page
    after = call.query.get("next_openid", "")
    openids: list[str] = []
    total, is_reached = 0, not after
    for person in state.people.rows.values():
        if person.following:
            total += 1
            if is_reached and len(openids) < page:
                openids.append(person.openid)
        is_reached = is_reached or person.openid == after
    require(is_reached, 40003, "invalid openid")
    if not openids:
        return {"total": total, "count": 0, "next_openid": ""}
    return {"total": total, "count": len(openids), "data": {"openid": openids}, "next_openid": openids[-1]}


async def info(call: Call) -> Answer:
    """GET /cgi-bin/user/info: what is still told about one person."""
    openid = call.parameter("openid", 41009, "missing openid")
    one_of(call.query.get("lang", "zh_CN"), LANGUAGES, 40035, "invalid parameter: lang")
    return _info(call, openid)


async def info_batch(call: Call) -> Answer:
    """POST /cgi-bin/user/info/batchget: up to 100 people at once."""
    fields = call.fields()
    people = fields.objects("user_list", missing=(40032, "invalid openid list size"))
    fields.done()
    require(1 <= len(people) <= BATCH, 40032, "invalid openid list size")
    found = []
    for person in people:
        openid = person.text("openid", missing=(40003, "invalid openid"))
        one_of(person.text("lang", default="zh_CN"), LANGUAGES, 40035, "invalid parameter: lang")
        person.done()
        found.append(_info(call, openid))
    return {"user_info_list": found}


async def update_remark(call: Call) -> Answer:
    """POST /cgi-bin/user/info/updateremark."""
    fields = call.fields()
    person = call.follower(fields.text("openid", missing=(40003, "invalid openid")))
    remark = fields.text("remark")
    fields.done()
    require(len(remark) < REMARK_CHARACTERS, 40035, "invalid parameter: remark too long")
    require(person.following, 43004, "require subscribe")
    person.remark = remark
    call.platform.state.people.put(person.openid, person)
    return OK


def _info(call: Call, openid: str) -> JsonObject:
    state = call.platform.state
    person = state.people.get(openid)
    if person is None:
        # A visitor in a snapshot page has an openid of the account, and follows nothing.
        if state.values.get(f"snapshot|{openid}"):
            return {"subscribe": 0, "openid": openid}
        raise Refused(40003, "invalid openid")
    return _shape(person) if person.following else {"subscribe": 0, "openid": openid}


def _shape(person: Person) -> JsonObject:
    withdrawn: JsonObject = {"nickname": "", "sex": 0, "language": "", "city": "", "province": "", "country": ""}
    return {
        "subscribe": 1,
        "openid": person.openid,
        **withdrawn,
        "headimgurl": "",
        "subscribe_time": person.subscribe_time,
        "remark": person.remark,
        "groupid": person.tags[0] if person.tags else 0,
        "tagid_list": person.tags,
        "subscribe_scene": person.subscribe_scene,
        "qr_scene": person.qr_scene,
        "qr_scene_str": person.qr_scene_str,
    }


endpoints = [
    Endpoint("GET", "/cgi-bin/user/get", get, per_day=500),
    Endpoint("GET", "/cgi-bin/user/info", info, per_day=5_000_000),
    Endpoint("POST", "/cgi-bin/user/info/batchget", info_batch, per_day=5_000_000),
    Endpoint("POST", "/cgi-bin/user/info/updateremark", update_remark, per_day=10_000),
]
