"""What `deploy/` gives to who runs it keeps what is promised of the running system."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
NGINX = PROJECT / "deploy" / "nginx.conf"
ROUTES = PROJECT / "tests" / "web" / "routes.txt"


def test_no_log_of_the_proxy_holds_what_somebody_looked_for() -> None:
    """Addresses carry message texts and phone numbers behind their "?"; an error line holds the whole request."""
    conf = re.sub(r"#.*", "", NGINX.read_text(encoding="utf-8"))
    ((name, shape),) = re.findall(r"log_format\s+(\w+)\s+'([^']*)';", conf)
    logged = set(re.findall(r"\$\w+", shape))
    assert {"$request_method", "$path_without_token"} <= logged
    assert not logged & {"$request", "$uri", "$request_uri", "$args", "$query_string", "$http_referer", "$request_body"}
    assert {where.split()[-1] for where in re.findall(r"access_log\s+([^;]+);", conf)} == {"off", name}
    servers = re.split(r"\nserver \{", conf)[1:]
    assert servers
    for server in servers:
        own = re.sub(r"\n    location [^{]*\{[^}]*\}", "", server)
        assert len(re.findall(r"access_log ", own)) == 1
        assert re.findall(r"error_log\s+\S+\s+(\w+);", own) == ["crit"]


def test_no_log_of_the_proxy_holds_what_opens_a_door_once() -> None:
    (pattern,) = re.findall(r"map \$uri \$path_without_token \{\s+~(\S+)\s+\$before\*\*\*;", NGINX.read_text("utf-8"))
    doors = set(re.findall(r"(?m)^(\S*/)<token>", ROUTES.read_text("utf-8")))
    assert doors
    for door in doors:
        found = re.match(pattern.replace("?<before>", "?P<before>"), f"{door}a-secret")
        assert found is not None, door
        assert found["before"] == door
