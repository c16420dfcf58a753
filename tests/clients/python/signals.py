"""A signal's event at a webhook, checked with the published library of Standard Webhooks; what is refused comes again.

API_URL, API_TOKEN and ACCOUNT_ID say where.
"""

import http.server
import os
import threading
import time

import requests
from standardwebhooks import Webhook, WebhookVerificationError

BASE = f"{os.environ['API_URL']}/accounts/{os.environ['ACCOUNT_ID']}"
# A window of a minute, the half minute in which its records arrive, and the look at it.
PATIENCE = 120
# One row for every window.
SQL = "SELECT $from AS \"From\", $until AS \"Until\" WHERE $from < $until"


def api(method, path, body=None):
    headers = {"Authorization": f"Bearer {os.environ['API_TOKEN']}"}
    answer = requests.request(method, f"{BASE}{path}", json=body, headers=headers, timeout=30)
    assert answer.ok, answer.text
    return answer.json()["result"]


class Receiver(http.server.BaseHTTPRequestHandler):
    """Refuses the first post, and keeps all."""

    posts = []
    twice = threading.Event()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Receiver.posts.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        if len(Receiver.posts) == 1:
            return self.send_error(503)
        self.send_response(204)
        self.end_headers()
        Receiver.twice.set()

    def log_message(self, *_):
        pass


def refused(key, body, headers):
    try:
        Webhook(key).verify(body, headers)
    except WebhookVerificationError:
        return True
    return False


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = api("GET", "/portunus/network")
    api("PUT", "/portunus/network", {**before, "allow": before["allow"] + [f"127.0.0.1/32:{server.server_port}"]})
    api("POST", "/portunus/snapshot/settle", {})
    query = api("POST", "/portunus/logs/queries", {"name": "every window", "sql": SQL})["id"]
    signal = {
        "name": "every minute",
        "query_id": query,
        "every_minutes": 1,
        "at_least": 1,
        "webhook": f"http://127.0.0.1:{server.server_port}/in/s3cr3t?key=1",
    }
    made = api("POST", "/portunus/signals", signal)
    assert "s3cr3t" not in made["webhook"], made
    path = f"/portunus/signals/{made['id']}"
    try:
        assert Receiver.twice.wait(PATIENCE), "no event was posted twice"
    finally:
        api("DELETE", path)
    first, again = Receiver.posts[:2]
    assert [post[0] for post in (first, again)] == ["/in/s3cr3t?key=1"] * 2
    key = made["webhook_secret"]
    for _, headers, body in (first, again):
        event = Webhook(key).verify(body, headers)
        assert (event["type"], event["name"], event["rows"]) == ("signal", "every minute", 1), event
        assert event["id"] == headers["webhook-id"]
        assert event["sample"][0]["Until"].startswith(event["until"][:19]), event
        assert refused(key, body + b" ", headers)
        assert refused(key, body, {**headers, "webhook-timestamp": str(int(time.time()) + 1)})
    assert first[1]["webhook-id"] == again[1]["webhook-id"] and first[2] == again[2]
    api("DELETE", f"/portunus/logs/queries/{query}")
    api("PUT", "/portunus/network", before)
    print("signals: an event arrived signed, and came again when it was refused")


if __name__ == "__main__":
    main()
