"""A stub of the Hugging Face Hub on loopback: the endpoints by which huggingface_hub makes, fills and reads."""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_stub_that_may_write"
LFS_FROM = 4096


@dataclass
class Repository:
    private: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=lambda: [("0" * 40, {})])
    tags: dict[str, str] = field(default_factory=dict)

    def at(self, revision):
        revision = self.tags.get(revision, revision)
        if revision == "main":
            return self.commits[-1]
        return next(((sha, files) for sha, files in self.commits if sha == revision), None)


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.broken = False
        self.full = False

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_):
        pass

    def answer(self, status, content=b"", kind="application/json", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    @property
    def may_write(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def found(self, name):
        """The repository, or None after an answer that there is none."""
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and not self.may_write):
            status = 404 if self.may_write else 401
            self.answer(status, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        return repository

    def handle_any(self):
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if self.server.broken:
            self.body()
            return self.answer(503, {"error": "overloaded"})
        if self.command == "POST":
            return self.post(path, parts, self.body())
        if self.command == "PUT" and parts[0] == "lfs":
            content = self.body()
            assert hashlib.sha256(content).hexdigest() == parts[1]
            if self.server.full:
                return self.answer(403, {"error": "no room"})
            self.server.objects[parts[1]] = content
            return self.answer(200)
        if parts[:2] == ["api", "models"]:
            return self.model(parts[2:])
        if len(parts) > 4 and parts[2] == "resolve":
            return self.resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        return self.answer(404, {"error": f"no such page: {path}"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def post(self, path, parts, body):
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if not self.may_write:
            return self.answer(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            url = {"url": f"{self.server.address}/{name}"}
            if name in self.server.repositories:
                return self.answer(409, {"error": "You already created this model repo", **url})
            private = bool(asked.get("private") or asked.get("visibility") == "private")
            self.server.repositories[name] = Repository(private)
            return self.answer(200, url)
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{self.server.address}/lfs/{o['oid']}"}}}
                for o in json.loads(body)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects})
        name, verb = "/".join(parts[2:4]), parts[4]
        if (repository := self.found(name)) is None:
            return None
        if verb == "preupload":
            files = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["size"] > LFS_FROM else "regular",
                    "shouldIgnore": False,
                }
                for f in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        assert verb == "commit", path
        files = dict(repository.commits[-1][1])
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
            else:
                assert operation["key"] == "header", operation["key"]
        sha = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        repository.commits.append((sha, files))
        url = f"{self.server.address}/{name}/commit/{sha}"
        return self.answer(200, {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def model(self, parts):
        name = "/".join(parts[:2])
        if (repository := self.found(name)) is None:
            return None
        revision = parts[3] if len(parts) > 3 else "main"
        commit = repository.at(revision)
        if commit is None:
            return self.answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        sha, files = commit
        if len(parts) > 2 and parts[2] == "tree":
            return self.answer(
                200,
                [
                    {"type": "file", "path": path, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                    for path, c in files.items()
                ],
            )
        siblings = [{"rfilename": path} for path in files]
        about = {"_id": "1", "id": name, "sha": sha, "private": repository.private, "siblings": siblings, "tags": []}
        return self.answer(200, about)

    def resolve(self, name, revision, path):
        if (repository := self.found(name)) is None:
            return None
        sha, files = repository.at(revision)
        if path not in files:
            return self.answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        etag = f'"{hashlib.sha1(files[path]).hexdigest()}"'
        return self.answer(200, files[path], "application/octet-stream", X_Repo_Commit=sha, ETag=etag)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The stub, with nobody logged in; huggingface_hub knows no other host and keeps all under tmp_path."""
    constants = pytest.importorskip("huggingface_hub.constants")
    downloads = pytest.importorskip("huggingface_hub.file_download")  # has copies of some, in older versions
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    home = tmp_path / "hf-home"
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "ENDPOINT": server.address,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HUGGINGFACE_HUB_CACHE": str(home / "hub"),
        "HF_XET_CACHE": str(home / "xet"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_XET": True,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.address + "/{repo_id}/resolve/{revision}/{filename}",
    }.items():
        for module in (constants, downloads):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    yield server
    server.shutdown()
    server.server_close()
    thread.join(timeout=5)
    assert not thread.is_alive()


@pytest.fixture
def token(monkeypatch):
    """A person who has logged in."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return TOKEN
