"""Queries: the same rows from SQLite, DuckDB and a real PostgreSQL; nothing is written, no password comes out."""

import json
import os
import random
import sqlite3
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import duckdb
import mariadb
import polars as pl
import pytest
from adbc_driver_postgresql import dbapi
from postgres import PASSWORD, programs, server
from typer.testing import CliRunner

import sequela as sq
from sequela.cli.app import app
from sequela.errors import ConfigError, LogFormatError, SequelaError
from sequela.events.readers import read_query, sql

ROWS = [(i // 4, "abc"[i * i % 3], 1_700_000_000 + i) for i in range(40)]
QUERY = 'SELECT device AS "case", alarm AS event, moment AS time FROM alarms'
FRAME = pl.DataFrame(ROWS, schema=["case", "event", "time"], orient="row")
LOG = sq.read_log(FRAME)


@pytest.fixture(scope="module")
def postgres():
    with server() as folder:
        uri = f"postgresql://clerk:{quote(PASSWORD, safe='')}@/postgres?host={folder}"
        with dbapi.connect(uri) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TYPE alarm AS ENUM ('a', 'b', 'c')")
            cursor.execute(
                "CREATE TABLE alarms (device int, alarm alarm, moment timestamptz, id uuid, net inet, paid numeric)"
            )
            for device, alarm, at in ROWS:
                cursor.execute(
                    f"INSERT INTO alarms VALUES ({device}, '{alarm}', to_timestamp({at}), "
                    f"'00000000-0000-0000-0000-{device:012}', '::1', 1.5)"
                )
            connection.commit()
        yield uri


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Databases as files, and a Parquet file."""
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("alarms.db") as connection:
        connection.execute("CREATE TABLE alarms (device, alarm, moment)")
        connection.executemany("INSERT INTO alarms VALUES (?, ?, ?)", ROWS)
    connection.close()
    FRAME.write_parquet("alarms.parquet")
    with duckdb.connect("alarms.duckdb") as made:
        made.sql(
            "CREATE TABLE alarms AS SELECT \"case\" AS device, event AS alarm, time AS moment FROM 'alarms.parquet'"
        )
    return tmp_path


@pytest.mark.parametrize("batch", [7, 50_000])
@pytest.mark.parametrize(
    ("query", "uri"),
    [
        (QUERY, "sqlite:alarms.db"),
        (QUERY, "sqlite:///alarms.db"),
        (QUERY, "duckdb:alarms.duckdb"),
        ("SELECT * FROM 'alarms.parquet'", "duckdb:"),
    ],
)
def test_files_give_the_same_log(folder, monkeypatch, batch, query, uri):
    monkeypatch.setattr(sql, "BATCH", batch)
    assert sq.read_log(query, connection=uri).frame.equals(LOG.frame)


def test_open_connections(folder):
    with sqlite3.connect("alarms.db") as connection:
        assert sq.read_log(QUERY, connection=connection).frame.equals(LOG.frame)
    connection.close()
    with duckdb.connect("alarms.duckdb") as connection:
        assert sq.read_log(QUERY, connection=connection).frame.equals(LOG.frame)


def test_mariadb_gives_the_same_log():
    pymysql = pytest.importorskip("pymysql")
    with mariadb.server() as socket, pymysql.connect(unix_socket=str(socket), user="root") as connection:
        with connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE shop")
            cursor.execute("USE shop")
            cursor.execute(
                "CREATE TABLE alarms (device int, alarm enum('a', 'b', 'c'), moment datetime(6), paid decimal(5, 2), "
                "raw varbinary(3), day date, spent time)"
            )
            for device, alarm, at in ROWS:
                stamp = datetime.fromtimestamp(at, tz=UTC).replace(tzinfo=None)
                values = (device, alarm, stamp, "1.50", b"abc", stamp.date(), "01:02:03")
                cursor.execute("INSERT INTO alarms VALUES (%s, %s, %s, %s, %s, %s, %s)", values)
        connection.commit()
        query = QUERY.replace('"case"', "`case`")
        assert sq.read_log(query, connection=connection).frame.equals(LOG.frame)
        every = {"case": "day", "event": ["alarm", "paid", "raw", "spent"], "time": "moment"}
        log = sq.read_log("SELECT * FROM alarms", connection=connection, **every)
        assert log.events[0] == "a|1.50|abc|1:02:03"
        assert log.case_names == ["2023-11-14"]
        with pytest.raises(LogFormatError, match="the query cannot be read"):
            sq.read_log("SELECT * FROM nothing", connection=connection)


def test_absolute_paths(folder):
    for uri in (f"sqlite:{folder}/alarms.db", f"sqlite:///{folder}/alarms.db", f"sqlite:////{folder}/alarms.db"):
        assert sq.read_log(QUERY, connection=uri).n_events == 40
    with pytest.raises(LogFormatError, match="four slashes"):
        sq.read_log(QUERY, connection=f"sqlite://{folder}/alarms.db")


def test_postgres_gives_the_same_log(postgres):
    log = sq.read_log(QUERY, connection=postgres)
    assert log.frame.equals(LOG.frame)
    assert repr(log).startswith("EventLog(query of postgres: 40 events")
    with dbapi.connect(postgres) as connection:
        assert sq.read_log(QUERY, connection=connection).frame.equals(LOG.frame)


def test_a_dump_that_feeds_another_database_gives_the_same_log(postgres):
    def call(program, database, *words, given=None):
        host = postgres.partition("host=")[2]
        said = [str(programs() / program), "-h", host, "-U", "clerk", "-d", database, *words]
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        return subprocess.run(said, input=given, env=environment, check=True, capture_output=True).stdout

    call("psql", "postgres", "-c", "CREATE DATABASE copy TEMPLATE template0")
    call("psql", "copy", "-v", "ON_ERROR_STOP=1", given=call("pg_dump", "postgres"))
    fed = postgres.replace("/postgres?", "/copy?")
    assert sq.read_log(QUERY, connection=fed).frame.equals(LOG.frame)
    assert sq.read_log("SELECT * FROM alarms", connection=fed, case="id", event="alarm", time="moment").n_events == 40


def test_kinds_of_postgres(postgres):
    log = sq.read_log("SELECT * FROM alarms", connection=postgres, case="id", event=["alarm", "paid"], time="moment")
    assert log.case_names[1] == "00000000-0000-0000-0000-000000000001"
    assert log.events[0] == "a|1.5"
    assert log.notes == ("the column 'net' (inet) was left out; cast it to text to use it",)


def test_credentials_from_the_environment(postgres, monkeypatch):
    host = postgres.partition("host=")[2]
    for name, value in {"PGHOST": host, "PGUSER": "clerk", "PGPASSWORD": PASSWORD, "PGDATABASE": "postgres"}.items():
        monkeypatch.setenv(name, value)
    assert sq.read_log(QUERY, connection="postgresql://").n_events == 40


def test_nothing_is_written(postgres, folder):
    for uri in (postgres, "sqlite:alarms.db", "duckdb:alarms.duckdb"):
        with pytest.raises(LogFormatError, match=r"(?i)read.?only"):
            sq.read_log("DELETE FROM alarms", connection=uri)
        assert sq.read_log(QUERY, connection=uri).n_events == 40


def test_sqlite_columns_of_mixed_kinds(folder):
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE t (a, b, c, d)")
        rows = [(1, 1, b"x", None), ("1", 2.5, "y", None), (None, 3, None, 7)]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
        table = read_query("SELECT * FROM t", connection)
    connection.close()
    assert table.frame.collect().to_dict(as_series=False) == {
        "a": ["1", "1", None], "b": [1.0, 2.5, 3.0], "c": ["x", "y", None], "d": [None, None, 7],
    }  # fmt: skip


def test_kinds_that_change_between_batches(monkeypatch):
    monkeypatch.setattr(sql, "BATCH", 2)
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE t (a, b)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(1, None), (2, None), ("x", 1), (None, 2.5)])
        table = read_query("SELECT * FROM t", connection)
    connection.close()
    assert table.n_rows == 4
    assert table.frame.collect().to_dict(as_series=False) == {"a": ["1", "2", "x", None], "b": [None, None, 1.0, 2.5]}


@pytest.mark.parametrize(
    ("query", "uri", "said"),
    [
        (" ", "sqlite:alarms.db", "the query is empty"),
        ("SELECT 1 AS x, 2 AS x", "sqlite:alarms.db", "gives the column 'x' twice"),
        ("SELECT 1 AS \"case\", 'x' AS event WHERE 0", "sqlite:alarms.db", "holds? no event|has a header but no event"),
        ("SELECT 1 AS \"case\", 'x' AS event WHERE false", "duckdb:", "has a header but no event"),
        ("SELECT device FROM alarms", "sqlite:alarms.db", "name the event column|name the case column"),
        ("SELECT * FROM nothing", "duckdb:", "query of duckdb cannot be read: .*nothing"),
        (QUERY, "sqlite:", "name the file"),
        (QUERY, "sqlite:nothing.db", "no database file 'nothing.db'"),
        (QUERY, "sqlite:alarms.parquet", "not a database"),
        (QUERY, "duckdb:alarms.parquet", "cannot be opened"),
        (QUERY, "sqlite://host/alarms.db", "a file has no host"),
        (QUERY, "mysql://u:p@h/x", "must be a URI that begins with duckdb:, .* got 'mysql:…'"),
        (QUERY, "alarms.db", "must be a URI"),
    ],
)
def test_refused(folder, query, uri, said):
    with pytest.raises(SequelaError, match=said):
        sq.read_log(query, connection=uri)


def test_a_query_has_no_format(folder):
    with pytest.raises(ConfigError, match="the source is the text of a query"):
        sq.read_log(QUERY, connection="sqlite:alarms.db", file_format="csv")
    with pytest.raises(ConfigError, match="connection must be text, or an open connection; got 3"):
        sq.read_log(QUERY, connection=3)


def test_damaged_databases_are_read_or_refused(folder):
    """Bytes changed at random: each time all rows that the database gives, or one line."""
    whole = Path("alarms.db").read_bytes()
    rng, found = random.Random(1), {"read": 0, "refused": 0}
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 5, 50])):
            content[rng.randrange(len(content))] = rng.randrange(256)
        Path("damaged.db").write_bytes(content[: rng.choice([len(content), rng.randrange(1, len(content))])])
        try:
            sq.read_log(QUERY, connection="sqlite:damaged.db")
        except SequelaError as error:
            found["refused"] += str(error).isprintable()
        else:
            found["read"] += 1
    assert sum(found.values()) == 150
    assert min(found.values()) >= 3


SECRETS = ["hunter22", "hun/ter22", "hun ter22", "hun@ter22", "hun:ter22", "hun?ter22", "hun#ter22", "hun%ZZter22",
           "[hunter22", "x%20hunter22", "a&hunter22=b", "p@hunter22/x@y"]  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("form", ["clerk:{}@127.0.0.1:1/db", "clerk:{}", "clerk:{}@", "127.0.0.1:1/db?password={}"])
def test_no_message_holds_a_password(secret, form):
    if form == "clerk:{}":  # what stands behind an only @ is a host
        secret = secret.replace("@", "+")
    uri = "postgresql://" + form.format(secret)
    with pytest.raises(LogFormatError) as caught:
        sq.read_log(QUERY, connection=uri)
    for piece in ("hunter22", "ter22", "hun"):
        assert piece not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def run(*words, **options):
    result = CliRunner().invoke(app, [str(word) for word in words], **options)
    assert result.exit_code == 0, result.output
    return result


def test_commands_read_queries_and_keep_no_password(postgres, tmp_path):
    where = ["--sql", QUERY, "--database", postgres]
    told = run("fit", *where, "--out", tmp_path / "model", "--max-steps", "3", "--width", "8").output
    told += run("discover", tmp_path / "model", *where, "--out", tmp_path / "found", "--only", "3", "--json").output
    told += run("diagnose", tmp_path / "model", *where).output
    told += run("run", *where, "--out", tmp_path / "answer", "--max-steps", "3", "--folds", "2", "--fast").output
    told += run("explain", tmp_path / "answer", *where, "--case", "3").output
    plan = run("plan", tmp_path / "model", "--sql", QUERY, "--json", env={"SEQUELA_DATABASE": postgres})
    assert json.loads(plan.stdout)
    for secret in (PASSWORD, quote(PASSWORD, safe=""), "s3cret"):
        assert secret not in told
        for file in tmp_path.rglob("*"):
            assert file.is_dir() or secret.encode() not in file.read_bytes(), file
    record = json.loads((tmp_path / "found" / "run.json").read_text())
    assert record["log"]["source"] == "query of postgres"


def test_commands_need_one_log(tmp_path):
    for words, said in [
        (["--sql", QUERY], "needs --database"),
        ([], "name the file of the log"),
        (["x.csv", "--sql", QUERY, "--database", "sqlite:x"], "not both"),
    ]:
        result = CliRunner().invoke(app, ["fit", *words, "--out", str(tmp_path / "m")], env={"SEQUELA_DATABASE": ""})
        assert result.exit_code == 1
        assert said in result.output
