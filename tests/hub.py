"""A model hub on this machine: two HTTP servers that behave like a hub and the host behind it, and misbehave as told."""
import hashlib
import http.server
import re
import threading
import urllib.parse

MARK = "/blobs/"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler, hub):
        super().__init__(("127.0.0.1", 0), handler)
        self.hub = hub
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # clients are killed here


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, headers=None, body=b""):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()


class HubHandler(Handler):
    def do_GET(self):
        hub = self.server.hub
        hub.note("hub", self)
        if hub.refusals:
            status, headers = hub.refusals.pop(0)
            return self.answer(status, headers, b"no")
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", urllib.parse.unquote(self.path))
        files = hub.repos.get(match.group(1)) if match else None
        token = self.headers.get("Authorization")
        if match and match.group(1) in hub.gated:
            if token is None:
                return self.answer(401, {"X-Error-Code": "GatedRepo"})
            if token != f"Bearer {hub.gated[match.group(1)]}":
                return self.answer(403, {"X-Error-Code": "GatedRepo"})
        if files is None:
            return self.answer(404, {"X-Error-Code": "RepoNotFound"})
        if match.group(3) not in files:
            return self.answer(404, {"X-Error-Code": "EntryNotFound"})
        data = files[match.group(3)]
        headers = {"Location": hub.redirect or f"{hub.host.url}{MARK}{sha256(data)}?signature=secret",
                   "X-Linked-Size": str(hub.said_size or len(data)),
                   "X-Linked-Etag": f'"{hub.said_sha256 or sha256(data)}"', "X-Repo-Commit": hub.commit}
        self.answer(302, headers, b"moved")


class HostHandler(Handler):
    def do_GET(self):
        hub = self.server.hub
        hub.note("host", self)
        if self.command in hub.refused_methods:
            return self.answer(hub.refused_methods[self.command], body=b"<Error>no</Error>")
        data = hub.find(self.path.split("?")[0])
        if data is None:
            return self.answer(404)
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        first, status = 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and self.headers.get("If-Range", etag) == etag:
            first, status = int(asked.group(1)), 206
            if first >= len(data):
                return self.answer(416, {"Content-Range": f"bytes */{len(data)}"})
        headers = {"Content-Length": str(len(data) - first), "Accept-Ranges": "bytes"}
        if hub.etags:
            headers["ETag"] = etag
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.send_body(hub, data[first:])

    def send_body(self, hub, body):
        cut = hub.cuts.pop(0) if hub.cuts else None
        hub.sent += len(body if cut is None else body[:cut])
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.wfile.flush()
            if hub.hold is not None:
                hub.hold.wait(60)
            self.close_connection = True
            self.connection.close()


class Hub:
    """repos: {"org/repo": {path: bytes}}; files: {"/path": bytes} of the host behind it, by themselves."""

    def __init__(self):
        self.repos, self.files, self.gated = {}, {}, {}
        self.requests = []  # (server, method, path, headers)
        self.refusals = []  # (status, headers) of the hub's next answers
        self.cuts = []  # bytes after which the host's next answers break off
        self.hold = None  # an event that broken-off answers wait for before they break
        self.refused_methods = {}  # what the host answers to them: {"HEAD": 403}
        self.etags = True
        self.redirect = self.said_size = self.said_sha256 = None
        self.commit = "a" * 40
        self.sent = 0
        self.hub, self.host = Server(HubHandler, self), Server(HostHandler, self)
        self.url = self.hub.url

    def find(self, path):
        if path in self.files:
            return self.files[path]
        blobs = {MARK + sha256(data): data for files in self.repos.values() for data in files.values()}
        return blobs.get(path)

    def note(self, server, handler):
        self.requests.append((server, handler.command, handler.path, dict(handler.headers)))

    def ranges(self):
        """What the host was asked for, beside whole files."""
        return [headers["Range"] for server, _, _, headers in self.requests if server == "host" and "Range" in headers]

    def close(self):
        if self.hold is not None:
            self.hold.set()
        for server in (self.hub, self.host):
            server.shutdown()
            server.server_close()
