# SPDX-License-Identifier: Apache-2.0
# A stand-in for etcd's JSON gateway, as much of it as podferry uses, in memory. Prints its port, and ends with its
# stdin. What etcd answers to each of these requests was compared with etcd 3.4: numbers are texts, what is zero is
# left out. POST /fake makes it misbehave, for the next N requests: {"mode": "garbage", "n": 1}; or ends all leases,
# {"expire": true}, breaks all watches, {"break": true}, or writes, {"put": {KEY: VALUE}}.
import base64, json, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lock = threading.Condition()
store, leases, log = {}, {}, []  # key: record; id: keys; (revision, type, record)
state = {"revision": 1, "lease": 7000, "mode": "", "n": 0, "breaks": 0}


def header():
    return {"cluster_id": "1", "member_id": "1", "revision": str(state["revision"]), "raft_term": "2"}


def raw(o, name):
    return base64.b64decode(o.get(name, ""), validate=True)


class Refused(Exception):
    def __init__(self, status, code, text):
        super().__init__(text)
        self.status, self.code = status, code


def show(r, only_key=False):
    o = {"key": base64.b64encode(r["key"]).decode(), "create_revision": str(r["create"]),
         "mod_revision": str(r["mod"]), "version": str(r["version"])}
    if r["value"] and not only_key:
        o["value"] = base64.b64encode(r["value"]).decode()
    if r["lease"]:
        o["lease"] = str(r["lease"])
    return o


def keys_of(o):
    key, end = raw(o, "key"), raw(o, "range_end")
    return [k for k in sorted(store) if (key <= k < end if end else k == key)]


def range_(o):
    if int(o.get("revision", 0)) > state["revision"]:
        raise Refused(400, 11, "etcdserver: mvcc: required revision is a future revision")
    keys, limit = keys_of(o), int(o.get("limit", 0))
    got = keys[:limit] if limit else keys
    answer = {"header": header()}
    if got:
        answer["kvs"] = [show(store[k], o.get("keys_only")) for k in got]
        answer["count"] = str(len(keys))
    if len(got) < len(keys):
        answer["more"] = True
    return answer


def put(o):
    key, lease = raw(o, "key"), int(o.get("lease", 0))
    if lease and lease not in leases:
        raise Refused(404, 5, "etcdserver: requested lease not found")
    old = store.get(key)
    r = {"key": key, "value": raw(o, "value"), "lease": lease, "mod": state["revision"],
         "create": old["create"] if old else state["revision"], "version": old["version"] + 1 if old else 1}
    store[key] = r
    if lease:
        leases[lease].add(key)
    log.append((state["revision"], "PUT", r))
    return {"header": {"revision": str(state["revision"])}}


def delete(o):
    keys = keys_of(o)
    for k in keys:
        log.append((state["revision"], "DELETE", dict(store.pop(k), mod=state["revision"])))
    return {"header": {"revision": str(state["revision"])}, "deleted": str(len(keys))}


def holds(c):
    r = store.get(raw(c, "key"))
    if c["target"] == "VALUE":
        return r is not None and r["value"] == raw(c, "value")
    have, want = r["version"] if r else 0, int(c.get("version", 0))
    return {"EQUAL": have == want, "GREATER": have > want}[c["result"]]


def txn(o):
    done = all(holds(c) for c in o.get("compare", []))
    todo = o.get("success" if done else "failure", [])
    if any("request_range" not in op for op in todo):
        state["revision"] += 1
    answers = []
    for op in todo:
        for name, f in (("put", put), ("delete_range", delete), ("range", range_)):
            if "request_" + name in op:
                answers.append({"response_" + name: f(op["request_" + name])})
    answer = {"header": header()}
    if done:
        answer["succeeded"] = True
    if answers:
        answer["responses"] = answers
    return answer


def grant(o):
    state["lease"] += 1
    leases[state["lease"]] = set()
    return {"header": header(), "ID": str(state["lease"]), "TTL": str(o["TTL"])}


def keepalive(o):
    result = {"header": header(), "ID": str(o["ID"])}
    if int(o["ID"]) in leases:
        result["TTL"] = "20"
    return {"result": result}


def revoke(o):
    if int(o["ID"]) not in leases:
        raise Refused(404, 5, "etcdserver: requested lease not found")
    end(int(o["ID"]))
    return {"header": header()}


def end(lease):
    state["revision"] += 1
    for key in leases.pop(lease):
        if key in store and store[key]["lease"] == lease:
            delete({"key": base64.b64encode(key).decode()})


def fake(o):
    if o.pop("expire", False):
        for lease in list(leases):
            end(lease)
    for key, value in o.pop("put", {}).items():
        state["revision"] += 1
        put({name: base64.b64encode(s.encode()).decode() for name, s in (("key", key), ("value", value))})
    state["breaks"] += o.pop("break", False)
    state.update(o)
    return {}


calls = {"/v3/kv/range": range_, "/v3/kv/txn": txn, "/v3/lease/grant": grant, "/v3/lease/keepalive": keepalive,
         "/v3/lease/revoke": revoke, "/fake": fake}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # header and body at once

    def log_message(self, *args):
        pass

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def chunk(self, o):
        line = json.dumps(o).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()

    def watch(self, text):
        requests, decoder = [], json.JSONDecoder()
        while text:
            o, n = decoder.raw_decode(text)
            requests.append(o["create_request"])
            text = text[n:].lstrip()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with lock:
            seen, breaks = len(log), state["breaks"]
            for _ in requests:
                self.chunk({"result": {"header": header(), "created": True}})
            while lock.wait() and breaks == state["breaks"]:
                for revision, kind, r in log[seen:]:
                    for q in requests:
                        unwanted = "NOPUT" if kind == "PUT" else "NODELETE"
                        if raw(q, "key") <= r["key"] < raw(q, "range_end") and unwanted not in q["filters"]:
                            event = {"kv": show(r)} if kind == "PUT" else {"type": kind, "kv": show(r)}
                            self.chunk({"result": {"header": header(), "events": [event]}})
                seen = len(log)
        self.close_connection = True

    def misbehave(self, mode, body):
        if mode == "done":  # and nobody is told
            with lock:
                calls[self.path](json.loads(body))
        elif mode == "late":
            time.sleep(7)
        elif mode == "garbage":
            self.answer(200, b"{\"header\": ")
        elif mode == "other":
            self.answer(200, b"{\"hello\": 1}")
        elif mode == "list":
            self.answer(200, b"[]")
        elif mode == "html":
            self.answer(404, b"<html>not here</html>")
        elif mode == "proxy":
            self.answer(502, b"<html>bad gateway</html>")
        elif mode == "huge":
            self.answer(200, b" " * (17 << 20))
        elif mode == "base64":
            self.answer(200, b'{"header": {"revision": "2"}, "kvs": [{"key": "!", "value": "?"}]}')
        elif mode == "outside":
            self.answer(200, b'{"header": {"revision": "2"}, "kvs": [{"key": "L2E=", "value": "YQ=="}]}')
        elif mode in ("compacted", "space", "denied", "leader"):
            code, text = {"compacted": (11, "etcdserver: mvcc: required revision has been compacted"),
                          "space": (8, "etcdserver: mvcc: database space exceeded"),
                          "denied": (7, "etcdserver: permission denied"),
                          "leader": (14, "etcdserver: no leader")}[mode]
            self.answer(400, json.dumps({"error": text, "code": code}).encode())
        self.close_connection = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/v3/watch":
            return self.watch(body)
        with lock:
            mode = state["mode"] if state["n"] > 0 and self.path != "/fake" else ""
            if mode:
                state["n"] -= 1
            try:
                answer = b"" if mode else json.dumps(calls[self.path](json.loads(body))).encode()
            except Refused as e:
                return self.answer(e.status, json.dumps({"error": str(e), "message": str(e), "code": e.code}).encode())
            finally:
                lock.notify_all()
        return self.misbehave(mode, body) if mode else self.answer(200, answer)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):  # who went away
        pass


server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
