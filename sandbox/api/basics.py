"""Addresses of the platform and a check of the developer's server."""

from __future__ import annotations

from sandbox.api.call import Answer, Call, Endpoint, one_of


async def addresses(_: Call) -> Answer:
    """GET /cgi-bin/getcallbackip and get_api_domain_ip: where pushes come from, where calls go."""
    return {"ip_list": ["127.0.0.1"]}


async def check_callback(call: Call) -> Answer:
    """POST /cgi-bin/callback/check."""
    fields = call.fields()
    action = one_of(fields.text("action"), ("all", "dns", "ping"), 40035, "invalid parameter: action")
    operators = ("DEFAULT", "UNICOM", "CHINANET", "CAP")
    operator = one_of(fields.text("check_operator"), operators, 40035, "invalid parameter: check_operator")
    fields.done()
    answer: Answer = {}
    if action in ("all", "dns"):
        answer["dns"] = [{"ip": "127.0.0.1", "real_operator": operator}]
    if action in ("all", "ping"):
        answer["ping"] = [{"ip": "127.0.0.1", "from_operator": operator, "package_loss": "0%", "time": "0.100ms"}]
    return answer


endpoints = [
    Endpoint("GET", "/cgi-bin/getcallbackip", addresses),
    Endpoint("GET", "/cgi-bin/get_api_domain_ip", addresses),
    Endpoint("POST", "/cgi-bin/callback/check", check_callback),
]
