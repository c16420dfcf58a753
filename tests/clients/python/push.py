"""Push jobs made with the published SDK: records arrive at an HTTP endpoint and at rsyslog over TLS, all of them.

API_URL, API_TOKEN, ACCOUNT_ID and DATA say where.
"""

import gzip
import http.server
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time

import requests
from cloudflare import Cloudflare
from authority import authority

ACCOUNT = os.environ["ACCOUNT_ID"]
BASE = f"{os.environ['API_URL']}/accounts/{ACCOUNT}"
PATIENCE = 60
SECRET = "s3cr3t-of-the-siem"
RSYSLOG = """
global(workDirectory="{work}" maxMessageSize="300k"
       defaultNetstreamDriverCAFile="{work}/root.pem" defaultNetstreamDriverCertFile="{work}/leaf.pem"
       defaultNetstreamDriverKeyFile="{work}/key.pem")
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
template(name="whole" type="string" string="%app-name% %msgid% %pri% %msg%\\n")
ruleset(name="portunus") {{ action(type="omfile" file="{work}/received" template="whole") }}
input(type="imtcp" port="0" listenPortFileName="{work}/port" ruleset="portunus")
"""


def api(method, path, body=None):
    headers = {"Authorization": f"Bearer {os.environ['API_TOKEN']}"}
    answer = requests.request(method, f"{BASE}{path}", json=body, headers=headers, timeout=PATIENCE)
    assert answer.ok, answer.text
    return answer.json()["result"]


def until(what, done):
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, f"{what} did not come about"
        time.sleep(0.2)


class Receiver(http.server.BaseHTTPRequestHandler):
    """Refuses every other batch, and keeps the rest."""

    records = {}
    asked = 0

    def do_POST(self):
        assert self.headers["Authorization"] == f"Bearer {SECRET}"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Receiver.asked += 1
        if "Portunus-Test" not in self.headers and Receiver.asked % 2 == 0:
            return self.send_error(503)
        for line in gzip.decompress(body).splitlines():
            record = json.loads(line)
            Receiver.records[record.get("ID")] = record
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        root, both = authority()
        (work / "root.pem").write_text(root)
        (work / "leaf.pem").write_bytes(both)
        (work / "key.pem").write_bytes(both)
        (work / "rsyslog.conf").write_text(RSYSLOG.format(work=work))
        rsyslog = subprocess.Popen(["rsyslogd", "-n", "-f", work / "rsyslog.conf", "-i", work / "pid"], cwd=work)
        try:
            until("rsyslog", lambda: (work / "port").exists() and (work / "port").read_text().strip())
            check(server.server_port, int((work / "port").read_text()), root, work / "received")
        finally:
            rsyslog.terminate()
            rsyslog.wait()
    print("push: HTTP and rsyslog over TLS have every record")


def check(http_port, syslog_port, root, received):
    before = api("GET", "/portunus/network")
    ports = [f"127.0.0.1/32:{port}" for port in (http_port, syslog_port)]
    changed = {**before, "allow": before["allow"] + ports, "roots": before["roots"] + [root]}
    api("PUT", "/portunus/network", changed)
    api("POST", "/portunus/snapshot/settle", {})
    client = Cloudflare(base_url=os.environ["API_URL"], api_token=os.environ["API_TOKEN"], max_retries=0)
    jobs = client.logpush.jobs
    confs = [
        f"http://127.0.0.1:{http_port}/in?header_Authorization=Bearer%20{SECRET}",
        f"syslog+tls://127.0.0.1:{syslog_port}?app-name=gate",
    ]
    made = []
    for conf in confs:
        valid = client.logpush.validate.destination(account_id=ACCOUNT, destination_conf=conf)
        assert valid.valid, valid
        options = {"timestamp_format": "rfc3339"}
        job = jobs.create(
            account_id=ACCOUNT,
            dataset="audit_logs",
            destination_conf=conf,
            enabled=True,
            name="suite",
            output_options=options,
            max_upload_interval_seconds=1,
        )
        assert job.enabled and job.output_options.timestamp_format == "rfc3339", job
        assert SECRET not in job.to_json()
        made.append(job.id)
    assert {job.id for job in jobs.list(account_id=ACCOUNT)} >= set(made)
    until("the jobs", lambda: all(api("GET", f"/logpush/jobs/{job}")["portunus"]["state"] != "starting" for job in made))
    made_queries = (api("POST", "/portunus/logs/queries", {"name": f"push {number}", "sql": "SELECT 1"}) for number in range(30))
    queries = [query["id"] for query in made_queries]

    def audited():
        records = api("GET", "/portunus/logs/audit?limit=500")
        return {record["ID"] for record in records if record["ResourceID"] in queries}

    # A record is found a moment after it was made.
    until("the audit records", lambda: len(audited()) == len(queries))
    wanted = audited()
    until("every record over HTTP", lambda: wanted <= Receiver.records.keys())

    def messages():
        lines = received.read_text().splitlines() if received.exists() else []
        return [line.split(" ", 3) for line in lines]

    def by_syslog():
        return {json.loads(text)["ID"] for _, kind, _, text in messages() if kind == "audit_logs"}

    until("every record by syslog", lambda: wanted <= by_syslog())
    assert all(name == "gate" and priority == "110" for name, _, priority, _ in messages())
    for job in made:
        assert api("GET", f"/logpush/jobs/{job}")["portunus"]["missed"] == []
        changed = jobs.update(job, account_id=ACCOUNT, enabled=False)
        assert changed.enabled is False and changed.name == "suite"
        jobs.delete(job, account_id=ACCOUNT)
    for query in queries:
        api("DELETE", f"/portunus/logs/queries/{query}")
    api("PUT", "/portunus/network", before)


if __name__ == "__main__":
    main()
