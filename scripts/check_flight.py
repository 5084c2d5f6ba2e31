#!/usr/bin/env python3
"""Checks a Flight SQL server of neuronlake with ADBC, as people use it from Python.

Queries, prepared statements with both kinds of placeholders, frames of pandas and Polars, the catalog at every depth, facts
and refusals. The token of a server that has one is read from NEURONLAKE_TOKEN and shown as a header and as a password.
Prints one line a check; exits 1 when one fails, 2 on wrong usage.

Run:  python scripts/check_flight.py grpc://127.0.0.1:8081        (pip install -r scripts/requirements-test.txt)
Made with adbc-driver-flightsql 1.13.0, adbc-driver-manager 1.13.0, pyarrow 26.0.1, pandas 3.1.1, polars 2.1.0.
"""

import os
import sys

import adbc_driver_flightsql.dbapi as flight_sql
import pyarrow as pa
from adbc_driver_flightsql import DatabaseOptions

TOKEN = os.environ.get("NEURONLAKE_TOKEN")


def header():
    return {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {TOKEN}"} if TOKEN else {}


def table(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetch_arrow_table()


def expect(got, expected):
    if got != expected:
        raise AssertionError(f"expected {expected!r}, got {got!r}")


def refused(connection, sql, words, parameters=None):
    try:
        table(connection, sql, parameters)
    except Exception as error:  # the class depends on the driver's reading of the status
        if words not in str(error):
            raise AssertionError(f"expected {words!r} in {error}") from error
        return
    raise AssertionError(f"expected {sql!r} to be refused")


def rows(connection):
    found = table(connection, "SELECT hook_point, neuron, mean FROM neurons ORDER BY hook_point, neuron")
    (counted,) = table(connection, "SELECT count(*) AS n FROM neurons").column("n").to_pylist()
    expect(found.num_rows, counted)
    expect([str(field.type) for field in found.schema], ["string", "int32", "double"])
    lists = table(connection, "SELECT activations FROM activation_records LIMIT 3")
    expect(pa.types.is_list(lists.schema.field(0).type), True)


def frames(connection):
    sql = "SELECT neuron, mean FROM neurons ORDER BY neuron"
    with connection.cursor() as cursor:
        cursor.execute(sql)
        by_pandas = cursor.fetch_df()
        cursor.execute(sql)
        by_polars = cursor.fetch_polars()
    expect(list(by_pandas.columns), by_polars.columns)
    expect(by_pandas["neuron"].tolist(), by_polars["neuron"].to_list())


def placeholders(connection):
    for sql in ("SELECT neuron FROM neurons WHERE neuron < ? AND hook_point LIKE ? ORDER BY neuron",
                "SELECT neuron FROM neurons WHERE neuron < $1 AND hook_point LIKE $2 ORDER BY neuron"):
        found = table(connection, sql, (3, "blocks.0.%"))
        expect(found.column("neuron").to_pylist(), [0, 1, 2])
    expect(table(connection, "SELECT ? AS a, '?' AS b", ("x",)).to_pylist(), [{"a": "x", "b": "?"}])
    expect(table(connection, "SELECT ? AS a", (None,)).to_pylist(), [{"a": None}])
    with connection.cursor() as cursor:
        expect(str(cursor.adbc_prepare("SELECT neuron FROM neurons WHERE neuron = ?").field(0).type), "int32")
    refused(connection, "SELECT ? AS a", "expected values of 1 parameters, got 2", (1, 2))


def catalog(connection):
    (at_tables,) = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
    expect(at_tables["catalog_name"], "lake")
    for depth in ("catalogs", "db_schemas"):
        expect(connection.adbc_get_objects(depth=depth).read_all().num_rows, 1)
    (lake,) = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    (main,) = lake["catalog_db_schemas"]
    expect(main["db_schema_name"], "main")
    tables = {each["table_name"]: each for each in main["db_schema_tables"]}
    listed = table(connection, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'")
    expect(sorted(tables), sorted(listed.column("table_name").to_pylist()))
    expect({each["table_type"] for each in tables.values()}, {"TABLE", "VIEW"})
    for name, each in tables.items():
        columns = [column["column_name"] for column in each["table_columns"]]
        expect(columns, table(connection, f"SELECT * FROM {name} LIMIT 0").column_names)
    one = connection.adbc_get_objects(depth="columns", table_name_filter="neurons").read_all().to_pylist()
    expect([each["table_name"] for each in one[0]["catalog_db_schemas"][0]["db_schema_tables"]], ["neurons"])
    schema = connection.adbc_get_table_schema("neurons")
    expect(schema.field("neuron").metadata[b"ARROW:FLIGHT:SQL:TYPE_NAME"], b"INT")
    expect(sorted(connection.adbc_get_table_types()), ["TABLE", "VIEW"])


def facts(connection):
    expect(connection.adbc_get_info()["vendor_name"], "neuronlake")
    with connection.cursor() as cursor:
        expect(cursor.adbc_execute_schema("SELECT 1 AS one").names, ["one"])


def refusals(connection):
    refused(connection, "DROP TABLE scores", "--allow-write")
    refused(connection, "COPY (SELECT 1 AS a) TO 'mine.csv'", "--allow-write")
    refused(connection, "SELECT nonsense", "No field named nonsense")
    with connection.cursor() as cursor:
        cursor.adbc_statement.set_sql_query("INSERT INTO scores SELECT * FROM scores")
        try:
            cursor.adbc_statement.execute_update()
        except Exception as error:
            expect("--allow-write" in str(error), True)
        else:
            raise AssertionError("expected an update to be refused")


def stream(connection):
    """A million rows, batch by batch; the rest of a longer result is left."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT value FROM generate_series(1, 1000000)")
        expect(sum(batch.num_rows for batch in cursor.fetch_record_batch()), 1_000_000)
        cursor.execute("SELECT value FROM generate_series(1, 1000000000000)")
        expect(next(iter(cursor.fetch_record_batch())).num_rows > 0, True)


def tokens(uri):
    for options in ({}, {DatabaseOptions.AUTHORIZATION_HEADER.value: "Bearer another-token-than-that"}):
        with flight_sql.connect(uri, db_kwargs=options, autocommit=True) as connection:
            refused(connection, "SELECT 1", "expected the server's token")
    with flight_sql.connect(uri, db_kwargs={"username": "anybody", "password": TOKEN}, autocommit=True) as connection:
        expect(table(connection, "SELECT 1 AS one").to_pylist(), [{"one": 1}])


def main():
    if len(sys.argv) != 2:
        print("usage: check_flight.py grpc://ADDRESS", file=sys.stderr)
        return 2
    uri = sys.argv[1]
    checks = [rows, frames, placeholders, catalog, facts, refusals, stream]
    failed = 0
    for check in checks + ([tokens] if TOKEN else []):
        try:
            if check is tokens:
                tokens(uri)
            else:
                with flight_sql.connect(uri, db_kwargs=header(), autocommit=True) as connection:
                    check(connection)
            print(f"ok {check.__name__}")
        except Exception as error:
            failed += 1
            print(f"FAIL {check.__name__}: {type(error).__name__}: {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
