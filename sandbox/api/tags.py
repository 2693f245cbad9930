"""Tags of followers."""

from __future__ import annotations

from sandbox.api.call import OK, Answer, Call, Endpoint, Fields, Refused, require
from sandbox.state import Person, Tag

MOST_TAGS = 100
TAGS_PER_PERSON = 20
NAME_CHARACTERS = 30
LIST_SIZE = 50
FIRST_ID = 100  # the platform keeps the ids below for itself


async def create(call: Call) -> Answer:
    """POST /cgi-bin/tags/create."""
    state = call.platform.state
    tag = _tag_object(call)
    name = _name(call, tag)
    tag.done()
    require(len(state.tags.rows) < MOST_TAGS, 45056, "invalid tag count")
    number = FIRST_ID + state.count("tags") - 1
    state.tags.put(str(number), Tag(id=number, name=name))
    return {"tag": {"id": number, "name": name}}


async def get(call: Call) -> Answer:
    """GET /cgi-bin/tags/get."""
    counts: dict[int, int] = {}
    for person in call.platform.state.people.rows.values():
        for number in person.tags:
            counts[number] = counts.get(number, 0) + 1
    tags = call.platform.state.tags.rows.values()
    return {"tags": [{"id": tag.id, "name": tag.name, "count": counts.get(tag.id, 0)} for tag in tags]}


async def update(call: Call) -> Answer:
    """POST /cgi-bin/tags/update."""
    fields = _tag_object(call)
    tag = _existing(call, fields.integer("id", missing=(45159, "invalid tag id")))
    tag.name = _name(call, fields)
    fields.done()
    call.platform.state.tags.put(str(tag.id), tag)
    return OK


async def delete(call: Call) -> Answer:
    """POST /cgi-bin/tags/delete."""
    state = call.platform.state
    fields = _tag_object(call)
    tag = _existing(call, fields.integer("id", missing=(45159, "invalid tag id")))
    fields.text("name", default="")
    fields.done()
    for person in state.people.rows.values():
        if tag.id in person.tags:
            person.tags.remove(tag.id)
            state.people.put(person.openid, person)
    state.tags.remove(str(tag.id))
    return OK


async def members(call: Call) -> Answer:
    """GET or POST /cgi-bin/user/tag/get: the tag's followers, page by page."""
    fields = call.fields()
    tag = _existing(call, fields.integer("tagid", missing=(45159, "invalid tag id")))
    after = fields.text("next_openid", default="")
    fields.done()
    openids = [person.openid for person in call.platform.state.people.rows.values() if tag.id in person.tags]
    if after:
        require(after in openids, 40003, "invalid openid")
        openids = openids[openids.index(after) + 1 :]
    openids = openids[: call.platform.account.limits.user_page]
    if not openids:
        return {"count": 0, "next_openid": ""}
    return {"count": len(openids), "data": {"openid": openids}, "next_openid": openids[-1]}


async def add_members(call: Call) -> Answer:
    """POST /cgi-bin/tags/members/batchtagging."""
    tag, people = _members(call)
    for person in people:
        require(tag.id in person.tags or len(person.tags) < TAGS_PER_PERSON, 45059, "user already has too many tags")
    for person in people:
        if tag.id not in person.tags:
            person.tags.append(tag.id)
            call.platform.state.people.put(person.openid, person)
    return OK


async def remove_members(call: Call) -> Answer:
    """POST /cgi-bin/tags/members/batchuntagging."""
    tag, people = _members(call)
    for person in people:
        if tag.id in person.tags:
            person.tags.remove(tag.id)
            call.platform.state.people.put(person.openid, person)
    return OK


async def of_person(call: Call) -> Answer:
    """POST /cgi-bin/tags/getidlist."""
    fields = call.fields()
    person = call.follower(fields.text("openid", missing=(40003, "invalid openid")))
    fields.done()
    return {"tagid_list": person.tags}


def _tag_object(call: Call) -> Fields:
    fields = call.fields()
    tag = fields.part("tag")
    fields.done()
    return tag


def _name(call: Call, fields: Fields) -> str:
    name = fields.text("name", missing=(45157, "invalid tag name"))
    require(len(name) <= NAME_CHARACTERS, 45158, "tag name too long")
    is_taken = any(tag.name == name for tag in call.platform.state.tags.rows.values())
    require(bool(name) and not is_taken, 45157, "invalid tag name")
    return name


def _existing(call: Call, number: int) -> Tag:
    require(number not in (0, 1, 2), 45058, "can't modify sys tag")
    tag = call.platform.state.tags.get(str(number))
    if tag is None:
        raise Refused(45159, "invalid tag id")
    return tag


def _members(call: Call) -> tuple[Tag, list[Person]]:
    fields = call.fields()
    openids = fields.texts("openid_list", missing=(40032, "invalid openid list size"))
    tag = _existing(call, fields.integer("tagid", missing=(45159, "invalid tag id")))
    fields.done()
    require(1 <= len(openids) <= LIST_SIZE, 40032, "invalid openid list size")
    people = [call.follower(openid) for openid in openids]
    require(all(person.following for person in people), 40003, "invalid openid")
    return tag, people


endpoints = [
    Endpoint("POST", "/cgi-bin/tags/create", create, per_day=1000),
    Endpoint("GET", "/cgi-bin/tags/get", get, per_day=1000),
    Endpoint("POST", "/cgi-bin/tags/update", update, per_day=1000),
    Endpoint("POST", "/cgi-bin/tags/delete", delete, per_day=1000),
    Endpoint("POST", "/cgi-bin/user/tag/get", members, per_day=1000),
    Endpoint("POST", "/cgi-bin/tags/members/batchtagging", add_members, per_day=100_000),
    Endpoint("POST", "/cgi-bin/tags/members/batchuntagging", remove_members, per_day=100_000),
    Endpoint("POST", "/cgi-bin/tags/getidlist", of_person, per_day=100_000),
]
