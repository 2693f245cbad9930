"""Long jobs on pages: the bar, the list, stopping, and a download for nobody else."""

from __future__ import annotations

from sqlalchemy import select, update

from core import long_jobs
from core.database import Role
from core.models import JobState, LongJob, LongJobPart, Outbox
from core.runtime import Runtime
from merchants.models import Staff
from tests.web.conftest import Crew


def start(runtime: Runtime, login: str, merchant_id: int | None = None) -> int:
    with runtime.transaction(Role.PLATFORM) as session:
        member = session.execute(select(Staff).where(Staff.login == login)).scalar_one()
        return long_jobs.start(
            session,
            kind="walk",
            requested_by=member.id,
            merchant_id=merchant_id,
            payload={},
            subject="春季海报",
            total=1200,
            now=runtime.now(),
        )


def put(runtime: Runtime, job_id: int, **values: object) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(LongJob).where(LongJob.id == job_id).values(**values))


def test_the_bar_moves_and_survives_a_reload(crew: Crew, runtime: Runtime) -> None:
    job_id = start(runtime, "owner", crew.merchant_id)
    path = f"/merchant/jobs/{job_id}"
    assert "马上开始" not in crew.owner.get(path).text
    put(runtime, job_id, state=JobState.RUNNING, done=300)
    page = crew.owner.get(path)
    assert '<progress max="1200" value="300"' in page.text
    assert "已完成 300 / 1,200" in page.text
    assert f'hx-get="{path}"' in page.text
    seen = {"HX-Request": "true", "If-None-Match": page.headers["ETag"]}
    assert crew.owner.get(path, headers=seen).status_code == 304
    put(runtime, job_id, done=301)
    moved = crew.owner.get(path, headers=seen)
    assert "已完成 301 / 1,200" in moved.text
    assert "<html" not in moved.text
    put(runtime, job_id, state=JobState.DONE, done=1200)
    assert "hx-get" not in crew.owner.get(path).text


def test_the_file_is_handed_to_whoever_asked_for_it(crew: Crew, runtime: Runtime) -> None:
    """#100."""
    job_id = start(runtime, "owner", crew.merchant_id)
    path = f"/merchant/jobs/{job_id}"
    assert crew.owner.get(f"{path}/file").status_code == 404
    put(runtime, job_id, state=JobState.DONE, file_name="春季 海报.zip", file_mime="application/zip", file_size=6)
    with runtime.transaction(Role.PLATFORM) as session:
        session.add_all(LongJobPart(job_id=job_id, attempt=0, number=n, content=b"abc") for n in range(2))
    assert "春季 海报.zip" in crew.owner.get(path).text
    answer = crew.owner.get(f"{path}/file")
    assert (answer.data, answer.mimetype, answer.content_length) == (b"abcabc", "application/zip", 6)
    assert answer.headers["Content-Disposition"] == (
        "attachment; filename*=UTF-8''%E6%98%A5%E5%AD%A3%20%E6%B5%B7%E6%8A%A5.zip"
    )
    for other, address in ((crew.clerk, path), (crew.operator, f"/operator/jobs/{job_id}")):
        assert other.get(address).status_code == 404
        assert other.get(f"{address}/file").status_code == 404
        other.get("/auth/account")
        assert other.post(f"{address}/cancel").status_code == 404
    put(runtime, job_id, expires_at=runtime.now())
    assert crew.owner.get(f"{path}/file").status_code == 404


def test_an_operator_stops_a_job(crew: Crew, runtime: Runtime) -> None:
    job_id = start(runtime, "operator")
    assert "春季海报" in crew.operator.get("/operator/jobs").text
    page = crew.operator.post(f"/operator/jobs/{job_id}/cancel", follow_redirects=True)
    assert "已停下" in page.text
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(select(LongJob.state)).scalar_one() == JobState.CANCELLED
        session.execute(update(Outbox).values(state="done"))


def test_a_failure_is_told_in_words(crew: Crew, runtime: Runtime) -> None:
    job_id = start(runtime, "owner", crew.merchant_id)
    put(runtime, job_id, state=JobState.FAILED, error="最多 %(most)s 个。", error_detail={"most": 5})
    assert "最多 5 个。" in crew.owner.get(f"/merchant/jobs/{job_id}").text


def test_an_empty_list_says_what_it_is_for(crew: Crew) -> None:
    assert "还没有任务" in crew.owner.get("/merchant/jobs").text
    assert "还没有任务" in crew.operator.get("/operator/jobs").text
