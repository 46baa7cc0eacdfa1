"""Triggers that make a table append-only: its rows are neither updated nor deleted, whoever asks."""

from sqlalchemy import Connection, Table, event

_POSTGRESQL_FUNCTION = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation',
        MESSAGE = TG_TABLE_NAME || ' is append-only';
END $$
"""


def statements(table: str, dialect: str) -> list[str]:
    """The DDL that makes `table` append-only on `dialect` ("sqlite" or "postgresql"); a refusal is an IntegrityError.

    On SQLite a migration that recreates the table (batch mode) must run these again: its triggers go with it.
    """
    if dialect == "postgresql":
        return [
            _POSTGRESQL_FUNCTION,
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        ]
    return [
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ]


def make_append_only(table: Table) -> None:
    """Attach the triggers to `table` wherever its metadata creates it."""

    def create(target: Table, connection: Connection, **_: object) -> None:
        for statement in statements(target.name, connection.dialect.name):
            connection.exec_driver_sql(statement)

    event.listen(table, "after_create", create)
