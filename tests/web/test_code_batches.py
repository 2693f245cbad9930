"""批量建码 on pages: a file with faults is explained line by line, one without is one click from done."""

from __future__ import annotations

import io

import pytest
from sqlalchemy import func, select

from core.database import Role
from core.models import LongJob
from core.runtime import Runtime
from qrcodes.models import CodeBatch, SubQrCode
from tests.community import Neighbourhood
from tests.web.conftest import Browser, Crew

PATHS = {"operator": "/operator/codes/batches", "owner": "/merchant/codes/batches"}


def upload(browser: Browser, path: str, content: str, **fields: str):  # type: ignore[no-untyped-def]
    browser.get(f"{path}/new")
    file = (io.BytesIO(content.encode()), "../../list.csv")
    return browser.post(path, {**fields, "file": file}, content_type="multipart/form-data")  # type: ignore[dict-item]


def count(runtime: Runtime, model: type) -> int:
    with runtime.transaction(Role.PLATFORM) as session:
        return session.execute(select(func.count()).select_from(model)).scalar_one()


@pytest.mark.parametrize("who", PATHS)
def test_what_the_template_says_is_accepted(crew: Crew, runtime: Runtime, who: str) -> None:
    browser: Browser = getattr(crew, who)
    template = browser.get(f"{PATHS[who]}/template.csv")
    assert template.text.startswith("\ufeff名称,用途,位置")
    kept = upload(browser, PATHS[who], template.text, name="春节")
    assert kept.status_code == 303
    page = browser.get(kept.location).text
    assert "每一行都没问题" in page
    assert "生成 5 个二维码" in page
    for name in ("收银台", "桌台", "12.50", "7 天"):
        assert name in page
    assert count(runtime, SubQrCode) == 0
    for _ in range(2):
        assert browser.post(f"{kept.location}/start").location == kept.location
    assert count(runtime, LongJob) == 1
    assert "/jobs/1" in browser.get(kept.location).text


def test_faults_are_told_line_by_line_and_nothing_is_half_done(crew: Crew, runtime: Runtime) -> None:
    Neighbourhood(runtime).code(crew.merchant_id, "前台")
    evil = "<img src=x>"
    answer = upload(crew.owner, PATHS["owner"], f"名称,份数\n门口,1\n前台,2\n{evil},x\n", name="春节")
    assert answer.status_code == 422
    assert "2 行有问题，共 3 行" in answer.text
    for words in ("已经有一个同名的二维码", "份数应当是整数", "&lt;img src=x&gt;", 'value="春节"'):
        assert words in answer.text
    assert evil not in answer.text
    assert (count(runtime, CodeBatch), count(runtime, SubQrCode)) == (0, 1)


NO_LISTS = {
    "": "文件里没有内容",
    "名称\n" + "桌\n" * 2001: "一次最多 2000 行",
    "颜色\n红\n": "不认识的列",
    "名称,商户\n门口,别家\n": "不认识的列",
}


def test_a_file_that_is_no_list_is_explained(crew: Crew) -> None:
    for content, words in NO_LISTS.items():
        answer = upload(crew.owner, PATHS["owner"], content)
        assert (answer.status_code, words in answer.text) == (422, True)


def test_too_few_permanent_codes_left_is_told_before_anything_is_made(
    crew: Crew, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qrcodes.queries.Pool.left", 1)
    assert "永久码只剩 1 个" in upload(crew.owner, PATHS["owner"], "名称\n甲\n乙\n").text


def test_a_batch_is_its_makers_alone(crew: Crew) -> None:
    kept = upload(crew.owner, PATHS["owner"], "名称\n门口\n").location
    for browser, path, status in (
        (crew.clerk, kept, 403),
        (crew.operator, kept.replace("/merchant/", "/operator/"), 404),
    ):
        browser.get("/auth/account")
        assert browser.get(path).status_code == status
        assert browser.post(f"{path}/start").status_code == status
    crew.clerk.get("/auth/account")
    assert upload(crew.clerk, PATHS["owner"], "名称\n门口\n").status_code == 403
