"""Every request that changes something, sent again: in a row, at once, and after a restart."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from api_tools import Api, line_and_bytes, sha256
from test_accounts import routes
from test_files import offer
from test_serve import Command, pytestmark  # noqa: F401
from test_streams import append

LINE = b'{"index":0,"data":{"x":1}}\n'
PART = bytes(range(256)) * 300

# Those that are not to be sent again, and why.
ONCE = {
    ("POST", "/api/v1/device/start"): "each begins a login of its own, that ends by itself",
    ("POST", "/api/v1/device/poll"): "hands the token out once: test_device.py",
    ("POST", "/device"): "a form with a token: test_device.py",
    ("POST", "/device/decide"): "a form, which decides once: test_device.py",
    ("POST", "/api/v1/experiments/{experiment}/streams/heads"): "changes nothing",
    ("POST", "/api/v1/experiments/{experiment}/files/status"): "changes nothing",
}


class Place(Api):
    def __init__(self, folder) -> None:
        super().__init__(folder)
        self.admin("user", "create", "bob", "--no-password", "--data", str(folder / "data"))
        self.base = f"/experiments/{self.register('replay')['id']}"
        self.n = 0

    def restart(self) -> None:
        self.server.finish()
        self.server = Command(self.folder)

    # Each begins something new and gives the request that is to be sent again.

    def post_tokens(self):
        return ("POST", "/tokens", {"name": "x", "expires_in_s": 900}, {"Idempotency_Key": self.id})

    def delete_tokens(self):
        made = self.call("POST", "/tokens", {"name": "gone"})
        return "DELETE", f"/tokens/{made['id']}", None, {}

    def post_namespaces(self):
        return "POST", "/namespaces", {"name": f"team{self.n}"}, {}

    def put_members(self):
        self.call("POST", "/namespaces", {"name": f"team{self.n}"})
        return "PUT", f"/namespaces/team{self.n}/members/bob", {"role": "reader"}, {}

    def delete_members(self):
        _, path, role, _ = self.put_members()
        self.call("PUT", path, role)
        return "DELETE", path, None, {}

    def post_experiments(self):
        wanted = {"project": f"p{self.n}", "folder": "f", "name": "n", "run": self.id}
        return "POST", "/namespaces/ada/experiments", wanted, {}

    def post_streams(self):
        return "POST", f"{self.base}/streams", append(self.id, LINE), {}

    def post_small(self):
        files = [offer(f"{self.n}{k}", b"abc", f"f{k}") for k in range(3)]
        body = line_and_bytes({"files": files}, b"abc" * 3)
        return "POST", f"{self.base}/files/small", body, {}

    def post_uploads(self):
        return "POST", f"{self.base}/uploads", offer(f"1{self.n}", PART), {}

    def put_parts(self):
        self.call("POST", f"{self.base}/uploads", offer(f"2{self.n}", PART))
        path = f"{self.base}/uploads/2{self.n}/parts/0"
        return "PUT", path, PART, {"X_Part_SHA256": sha256(PART)}

    def post_commit(self):
        method, path, body, headers = self.put_parts()
        self.call(method, path, body, **headers)
        return "POST", f"{self.base}/uploads/2{self.n}/commit", {}, {}

    def delete_uploads(self):
        self.call("POST", f"{self.base}/uploads", offer(f"3{self.n}", PART))
        return "DELETE", f"{self.base}/uploads/3{self.n}", None, {}

    @property
    def id(self) -> str:
        return hashlib.md5(str(self.n).encode()).hexdigest()

    def things(self) -> dict:
        """How many there are of what requests make."""
        return {
            "tokens": len(self.call("GET", "/tokens")["tokens"]),
            "teams": len(self.call("GET", "/namespaces")["namespaces"]),
            "experiments": len(self.call("GET", "/namespaces/ada/experiments")["experiments"]),
            "streams": [
                (s["stream"], s["offset"])
                for s in self.call("GET", f"{self.base}/streams")["streams"]
            ],
        }


ROUTES = {
    ("POST", "/api/v1/tokens"): Place.post_tokens,
    ("DELETE", "/api/v1/tokens/{token}"): Place.delete_tokens,
    ("POST", "/api/v1/namespaces"): Place.post_namespaces,
    ("PUT", "/api/v1/namespaces/{namespace}/members/{username}"): Place.put_members,
    ("DELETE", "/api/v1/namespaces/{namespace}/members/{username}"): Place.delete_members,
    ("POST", "/api/v1/namespaces/{namespace}/experiments"): Place.post_experiments,
    ("POST", "/api/v1/experiments/{experiment}/streams"): Place.post_streams,
    ("POST", "/api/v1/experiments/{experiment}/files/small"): Place.post_small,
    ("POST", "/api/v1/experiments/{experiment}/uploads"): Place.post_uploads,
    ("PUT", "/api/v1/experiments/{experiment}/uploads/{file}/parts/{n}"): Place.put_parts,
    ("POST", "/api/v1/experiments/{experiment}/uploads/{file}/commit"): Place.post_commit,
    ("DELETE", "/api/v1/experiments/{experiment}/uploads/{file}"): Place.delete_uploads,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("replay"))
    yield place
    place.stop()


def test_every_route_that_changes_something_is_here():
    changing = {(method, path) for method, path, _ in routes() if method != "GET"}
    assert set(ROUTES) | set(ONCE) == changing
    assert not set(ROUTES) & set(ONCE)


def told(place, request) -> tuple[int, object]:
    """The answer without what is about the request itself: whether this one made the thing."""
    method, path, body, headers = request
    status, _, content = place.request(method, path, body, **headers)
    answer = json.loads(content)
    answer.pop("created", None)
    return status, answer


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_sent_again_it_has_the_effect_and_the_answer_of_one(place, route):
    place.n += 1
    request = ROUTES[route](place)
    first = told(place, request)
    assert first[0] == 200, first
    things = place.things()
    again = (404, None) if route == ("DELETE", "/api/v1/tokens/{token}") else first
    answers = [told(place, request) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        answers += pool.map(lambda _: told(place, request), range(8))
    place.restart()
    answers.append(told(place, request))
    for answer in answers:
        assert answer[0] == again[0], answer
        assert again[1] is None or answer == again
    assert place.things() == things


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_many_at_once_the_first_time(place, route):
    place.n += 1
    request = ROUTES[route](place)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: told(place, request), range(8)))
    good = [answer for answer in answers if answer[0] == 200]
    if route == ("DELETE", "/api/v1/tokens/{token}"):
        assert {status for status, _ in answers} <= {200, 404}
        assert good
    else:
        assert answers == [answers[0]] * 8
        assert good == answers
    assert told(place, request)[0] in (200, 404)


def test_the_same_key_with_another_body_is_refused_and_changes_nothing(place):
    place.n += 1
    method, path, body, key = place.post_tokens()
    made = place.call(method, path, body, **key)
    things = place.things()
    for other in ({**body, "name": "y"}, {**body, "expires_in_s": 901}, {"name": "x"}):
        status, error, answer = place.refused(method, path, other, **key)
        assert (status, error, answer["field"]) == (409, "conflict", "Idempotency-Key")
    assert place.things() == things
    for bad in ("", "k" * 256):
        told_ = place.refused(method, path, body, Idempotency_Key=bad)
        assert (told_[0], told_[2]["field"]) == (400, "Idempotency-Key")
    # Revoked, it is not made again by a request that comes late.
    place.call("DELETE", f"/tokens/{made['id']}")
    assert place.refused(method, path, body, **key)[:2] == (409, "state")
    assert place.refused("DELETE", f"/tokens/{made['id']}")[0] == 404
    assert made["id"] not in [t["id"] for t in place.call("GET", "/tokens")["tokens"]]
    headers, place.headers = place.headers, {"Authorization": f"Bearer {made['token']}"}
    assert place.refused("GET", "/me")[0] == 401
    place.headers = headers
    # A key is the caller's token's own: another token's same key makes another.
    other = place.call("POST", "/tokens", {"name": "other"})
    place.headers = {"Authorization": f"Bearer {other['token']}"}
    assert place.call(method, path, body, **key)["token"] != made["token"]
    place.headers = headers

    for method, path, body, headers in (
        place.post_small(),
        place.post_uploads(),
        place.post_streams(),
    ):
        place.call(method, path, body, **headers)
    small = [offer(f"{place.n}0", b"xyz", "f0")]
    answer = place.call(
        "POST", f"{place.base}/files/small", line_and_bytes({"files": small}, b"xyz")
    )
    assert answer["files"][0]["state"] == "id_taken"
    other = offer(f"1{place.n}", PART[:-1])
    assert place.refused("POST", f"{place.base}/uploads", other)[:2] == (409, "id_taken")
    changed = append(place.id, LINE.replace(b"1", b"2"))
    assert place.refused("POST", f"{place.base}/streams", changed)[:2] == (409, "diverged")
