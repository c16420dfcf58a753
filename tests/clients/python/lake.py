"""Other engines read the lake and agree with the platform, row for row: DuckDB, and Arrow by way of Delta Lake.

GENERATE makes traffic in a directory of its own, PORTUNUS then runs over it. What is asked of the files is asked of the
platform, too; what is written while it runs is in its answers within a second, once, before and after it is taken over.
"""

import datetime
import json
import os
import pathlib
import subprocess
import tempfile
import time
import urllib.request

import duckdb
import pyarrow.compute
from deltalake import DeltaTable

ROWS = 8_000
# Seconds in which sealed segments are taken over on a busy machine.
TAKING_OVER = 60
DATASETS = {"gateway_http": "RequestID", "gateway_network": "SessionID", "access_requests": "RayID", "mcp_portal_logs": "CallID"}


class Running:
    """A platform over a directory."""

    def __init__(self, data):
        self.ready_file = data / "ready.json"
        self.ready_file.unlink(missing_ok=True)
        listeners = ["--console", "127.0.0.1:0", "--proxy", "127.0.0.1:0", "--access", "127.0.0.1:0"]
        arguments = [os.environ["PORTUNUS"], "up", "--data", str(data), "--ready-file", str(self.ready_file), *listeners]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.startswith("Ready"):
                break
        ready = json.loads(self.ready_file.read_text())
        self.account = f"{ready['api_url']}/accounts/{ready['account_id']}"
        self.token = ready["api_token"]

    def query(self, sql):
        body = json.dumps({"query": sql}).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.account}/logs/explorer/query", body, headers)
        with urllib.request.urlopen(request) as response:
            answer = json.load(response)["result"]
        assert not answer["truncated"], sql
        return answer["rows"]

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0


def plain(value):
    """A value as the API writes it."""
    if isinstance(value, datetime.datetime):
        text = value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
        return f"{text}Z"
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def normal(rows):
    return [{name: plain(value) for name, value in row.items()} for row in rows]


def moments(rows, columns):
    """Times of the API, without zeros at their end."""
    for row in rows:
        for name in columns:
            if isinstance(row.get(name), str) and row[name].endswith("Z"):
                row[name] = plain(datetime.datetime.fromisoformat(row[name].replace("Z", "+00:00")))
    return rows


def taken_over(data, running, dataset):
    """The table of the only account there is, once it holds all that the platform tells of the dataset."""
    total = running.query(f"SELECT COUNT(*) AS n FROM {dataset}")[0]["n"]
    assert total > 0, dataset
    until = time.monotonic() + TAKING_OVER
    while True:
        for folder in (data / "logs/lake").glob(f"*/{dataset}"):
            if DeltaTable.is_deltatable(str(folder)):
                table = DeltaTable(str(folder))
                arrow = table.to_pyarrow_table()
                assert arrow.num_rows <= total, (dataset, arrow.num_rows, total)
                if arrow.num_rows == total:
                    return table, arrow, total
        assert time.monotonic() < until, f"{dataset} is not in the lake after {TAKING_OVER} s"


def agree(data, running):
    for dataset, key in DATASETS.items():
        table, arrow, total = taken_over(data, running, dataset)
        assert pyarrow.compute.count_distinct(arrow[key]).as_py() == total, dataset

        files = table.file_uris()
        duck = duckdb.sql(f"SELECT * FROM read_parquet({files!r}, hive_partitioning = true) ORDER BY {key} LIMIT 2000")
        theirs = normal(dict(zip(duck.columns, row)) for row in duck.fetchall())
        ours = moments(running.query(f"SELECT * FROM {dataset} ORDER BY {key} LIMIT 2000"), ["Datetime", "CreatedAt"])
        arrows = normal(arrow.sort_by(key).slice(0, 2000).to_pylist())
        assert ours == theirs, next((pair for pair in zip(ours, theirs) if pair[0] != pair[1]))
        assert ours == arrows, next((pair for pair in zip(ours, arrows) if pair[0] != pair[1]))
        print(f"{dataset}: {total} rows, {len(files)} files, the same for DuckDB, Arrow and the platform")

    files = taken_over(data, running, "gateway_http")[0].file_uris()
    question = "SELECT HTTPHost, COUNT(*) AS n, COUNT(DISTINCT Email) AS people, SUM(ResponseBytes) AS bytes FROM {} GROUP BY HTTPHost ORDER BY n DESC, HTTPHost LIMIT 50"
    duck = duckdb.sql(question.format(f"read_parquet({files!r})"))
    assert [dict(zip(duck.columns, row)) for row in duck.fetchall()] == running.query(question.format("gateway_http"))


def live(running):
    """What was just decided is found, by the time it takes to ask."""
    before = running.query("SELECT COUNT(*) AS n FROM audit")[0]["n"]
    until = time.monotonic() + 1
    while True:
        # Each question is itself recorded, and in the answer to a later one.
        found = running.query("SELECT COUNT(*) AS n FROM audit WHERE ActionType = 'query'")[0]["n"]
        if found > before:
            break
        assert time.monotonic() < until, "a record is not found within a second"
    ids = [row["ID"] for row in running.query("SELECT ID FROM audit")]
    assert len(ids) == len(set(ids)), "a record is there twice"


def main():
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder)
        subprocess.run([os.environ["GENERATE"], "--data", str(data), "--rows", str(ROWS), "--days", "3"], check=True)
        running = Running(data)
        agree(data, running)
        live(running)
        counted = running.query("SELECT COUNT(*) AS n FROM audit")[0]["n"]
        running.stop()
        # What was in the journal at the end is in the lake now, or on its way, and counted once either way.
        running = Running(data)
        assert running.query("SELECT COUNT(*) AS n FROM audit WHERE ActionType = 'query'")[0]["n"] >= counted
        agree(data, running)
        running.stop()
    print("lake: DuckDB, Arrow and the platform agree")


main()
