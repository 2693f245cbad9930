"""The register of personal data is complete, and what users read of it is current (FA-6)."""

from sqlalchemy import Column, Integer, MetaData, Table, Text

from core import migrate
from core.personal import PLAIN
from tools.personal_data import PAGE, page, silent_columns


def test_every_column_says_whether_it_is_about_a_person() -> None:
    assert silent_columns(migrate.metadata()) == []


def test_a_phone_number_added_in_passing_is_noticed() -> None:
    metadata = MetaData()
    Table("guest", metadata, Column("id", Integer), Column("name", Text, info=PLAIN), Column("phone", Text))
    assert silent_columns(metadata) == ["guest.phone"]


def test_every_entry_names_purpose_basis_and_retention() -> None:
    entries = [
        entry
        for table in migrate.metadata().tables.values()
        for column in table.columns
        if (entry := column.info.get("personal"))
    ]
    assert entries
    assert all(entry.keys() == {"purpose", "basis", "retention"} and all(entry.values()) for entry in entries)


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(migrate.metadata()), "run python -m tools.personal_data"
