"""The API of serve.py: the same answers as query.py and evaluate.py, and what it says to bad requests."""
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import query
from caffe_cases import REPO, images_of, run
from search.feature_set import load_split
from serving.collection import coarse_ranks
from serving.gate import Address
from serving.projection import project


def encoded(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def photo(number=0):
    """A new image of the small problem, (H, W, 3) uint8."""
    return np.ascontiguousarray(np.moveaxis(images_of(8, 77)[0][number], 0, 2))


def bits_of(answer):
    return np.unpackbits(np.frombuffer(bytes.fromhex(answer["query"]["code"]), np.uint8))[:answer["bits"]]


# ---------------------------------------------------------------- the same answers
@pytest.fixture(scope="module")
def extracted(served_run, tmp_path_factory):
    """[(image file, its features by extract.py)], each file alone."""
    made = []
    for number in range(2):
        folder = tmp_path_factory.mktemp("asked")
        (folder / "new.png").write_bytes(encoded(photo(number)))
        status, said = run("extract.py", "--run", "run", "--gpu", "none", "--images", folder / "new.png", "--out",
                           folder / "features", cwd=served_run)
        assert status == 0, said
        made.append((folder / "new.png", folder / "features"))
    return made


@pytest.mark.parametrize("top_k, radius", [(10, None), (60, 2), (5, 8)])
def test_uploaded_images_get_the_answers_of_query_py(server, served_run, extracted, tmp_path, top_k, radius):
    for image, features in extracted:
        told = ["--radius", str(radius)] if radius else []
        assert query.main(["--queries", str(features), "--features", str(served_run / "run/features"),
                           "--out", str(tmp_path), "--top-k", str(top_k), *told]) == 0
        expected, = json.loads((tmp_path / "answers.json").read_text())
        status, found = server.search(f"k={top_k}" + (f"&T={radius}" if radius else ""), image.read_bytes())
        assert status == 200
        assert (found["T"], found["pool"]) == (expected["radius"], expected["pool"])
        assert found["searches"]["hdl"]["votes"] == expected["votes"]
        for mine, theirs in zip(found["searches"]["hdl"]["results"], expected["results"], strict=True):
            assert {name: mine[name] for name in theirs} == theirs


def test_test_images_get_the_lists_of_evaluate_py(server, served_run):
    saved = {name: np.load(served_run / f"run/eval/search-{name}.npz") for name in ("bcs", "hdl")}
    for row in range(50):
        status, found = server.search(f"of=test/{row}&k=60")
        assert (status, found["T"]) == (200, 3)
        for name, lists in saved.items():
            results = found["searches"][name]["results"]
            assert [result["row"] for result in results] == lists["ids"][row].tolist()
            assert [result["hamming"] for result in results] == lists["hamming"][row].tolist()
        assert found["pool"] == saved["hdl"]["pool"][row]
        euclidean = [np.nan if r["euclidean"] is None else r["euclidean"] for r in found["searches"]["hdl"]["results"]]
        # The order is that of float64; the figures shown beside it come from float32 products, right to a thousandth.
        np.testing.assert_allclose(euclidean, saved["hdl"]["euclidean"][row], rtol=1e-3)


def test_what_is_shown_beside_the_lists_equals_a_slow_account(server, served_run):
    train = load_split(served_run / "run/features/train")
    codes = np.asarray(train.latent) >= 0.5
    for row in (0, 17, 59):
        _, found = server.search(f"of=train/{row}&k=60&T=4")
        hamming = [int((codes[row] != code).sum()) for code in codes]
        order = sorted(range(60), key=lambda i: (hamming[i], i))
        assert bits_of(found).tolist() == codes[row].tolist()
        assert found["histogram"] == [hamming.count(d) for d in range(9)]
        same = [h for h, label in zip(hamming, train.labels) if label == train.labels[row]]
        assert found["histogram_same"] == [same.count(d) for d in range(9)]
        pool = [i for i in range(60) if hamming[i] < 4]
        assert dict(found["pool_classes"]) == {train.class_name(n): sum(train.labels[i] == n for i in pool)
                                               for n in set(train.labels[pool])}
        for result in found["searches"]["hdl"]["results"]:
            assert result["rank_by_codes"] == order.index(result["row"]) + 1
            assert result["right"] == (train.labels[result["row"]] == train.labels[row])
        for result in found["searches"]["bcs"]["results"]:
            away = np.asarray(train.fc7[result["row"]], float) - train.fc7[row]
            assert result["fc7"] == pytest.approx(np.linalg.norm(away), rel=1e-12)


def test_ranks_by_codes_with_all_ties():
    assert coarse_ranks(np.array([3, 0, 2]), np.zeros(4, np.uint8), 1, np.arange(4)) == [4, 1, 3]


def test_an_upload_can_be_asked_again_and_seen(server):
    _, first = server.search("", encoded(photo()))
    assert first["query"]["of"].startswith("upload/")
    assert set(first["seconds"]) == {"decode", "net", "coarse", "fine", "server"}
    _, again = server.search(f"of={first['query']['of']}&T=3")
    assert again["searches"] == first["searches"]
    assert "net" not in again["seconds"]
    _, headers, body = server.ask(f"/api/{first['query']['of']}")
    assert headers["content-type"] == "image/png"
    assert np.array_equal(np.array(Image.open(io.BytesIO(body))), photo()[:, :, ::1])


def test_an_id_is_asked_by_name(server, served_run):
    name = (served_run / "run/features/train/ids.txt").read_text().splitlines()[5]
    status, found = server.search("id=" + urlquoted(name))
    assert (status, found["query"]["of"], found["query"]["id"]) == (200, "train/5", name)


def urlquoted(text):
    return "".join(f"%{byte:02x}" for byte in text.encode())


def test_pictures_come_by_row(server, served_run):
    thumbs = np.load(served_run / "run/features/test/thumbs.npy")
    for path, side in (("/api/thumb/4?split=test", 36), ("/api/image/4?split=test", 36)):
        status, headers, body = server.ask(path)
        assert (status, headers["content-type"]) == (200, "image/png")
        picture = np.array(Image.open(io.BytesIO(body)))
        assert picture.shape[:2] == (side, side)
        assert np.array_equal(picture, thumbs[4])


def test_the_map_is_of_the_leading_directions(server, served_run):
    train = load_split(served_run / "run/features/train")
    for kind, values in (("codes", np.asarray(train.latent) >= 0.5), ("fc7", train.fc7)):
        status, _, body = server.ask(f"/api/map?of={kind}")
        head, _, arrays = body.partition(b"\n")
        head = json.loads(head)
        assert (status, head["points"], head["of"]) == (200, 60, kind)
        assert np.frombuffer(arrays[:240], "<u4").tolist() == list(range(60))
        points = np.frombuffer(arrays[240:720], "<f4").reshape(60, 2)
        centred = np.asarray(values, float) - np.mean(values, axis=0, dtype=float)
        left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
        expected = left[:, :2] * sizes[:2]
        expected -= (expected.min(axis=0) + expected.max(axis=0)) / 2
        expected /= np.abs(expected).max()
        for axis in range(2):  # a direction's sign means nothing
            assert min(np.abs(points[:, axis] - sign * expected[:, axis]).max() for sign in (1, -1)) < 1e-4
        classes = np.frombuffer(arrays[720:], "<u2")
        assert [head["classes"][i] for i in classes] == [train.class_name(label) for label in train.labels]


def test_one_bit_has_a_map_too(tmp_path):
    (tmp_path / "train").mkdir()
    np.save(tmp_path / "train/labels.npy", np.arange(5))
    np.save(tmp_path / "train/latent.npy", np.array([[0.1], [0.9], [0.2], [0.3], [0.8]]))
    _, points = project(load_split(tmp_path / "train"), "codes")
    assert np.abs(points[:, 0]).tolist() == [1] * 5
    assert points[:, 1].tolist() == [0] * 5


def test_the_run_is_told(server, served_run):
    status, told = server.get("/api/run")
    results = json.loads((served_run / "run/eval/results.json").read_text())
    assert status == 200
    assert (told["name"], told["images"], told["bits"], told["fc7"]) == ("run", {"train": 60, "test": 50}, 8, 16)
    assert told["searches"]["rows"][0][:2] == ["codes", results["map"]]
    for figure in told["figures"]:
        status, headers, body = server.ask(f"/api/figure/{figure['name']}")
        assert (status, headers["content-type"]) == (200, "image/svg+xml")
        assert b"<svg" in body
    status, headers, body = server.ask("/report")
    assert (status, body) == (200, (served_run / "run/eval/report.html").read_bytes())
    assert "sandbox" in headers["content-security-policy"]


# ---------------------------------------------------------------- bad requests
BAD = [
    ("of=train/1&k=0", b"", 400, "k = 0: give 1 to 60"),
    ("of=train/1&k=61", b"", 400, "the database holds 60 images"),
    ("of=train/1&k=two", b"", 400, "k = two: give a whole number"),
    ("of=train/1&T=0", b"", 400, "T = 0: give 1 to 8"),
    ("of=train/1&T=9", b"", 400, "T = 9: give 1 to 8"),
    ("of=train/1&search=best", b"", 400, "search = best: give both, bcs, hdl"),
    ("of=train/1&radius=3", b"", 400, "There is no parameter radius"),
    ("of=train/60", b"", 404, "no image 60 in train: rows go from 0 to 59"),
    ("of=other/1", b"", 404, "no images named other"),
    ("of=train/-1", b"", 400, "give a row of the database"),
    ("of=../../etc/passwd", b"", 400, "give a row of the database"),
    ("id=unknown", b"", 404, "No image of this run has the id 'unknown'"),
    ("of=upload/0123", b"", 410, "no longer has this uploaded image"),
    ("", b"", 400, "No image came"),
    ("", b"%PDF-1.4", 415, "A PDF is not an image"),
    ("", b"hello", 415, "This file is not an image"),
    ("", encoded(photo(), "JPEG")[:-60], 415, "cut short"),
    ("", b"0" * (20 * 1024 * 1024 + 1), 413, "more than 20 MB"),
]


@pytest.mark.parametrize("query, body, status, words", BAD, ids=[bad[3] for bad in BAD])
def test_a_bad_request_gets_a_sentence_and_its_status(server, query, body, status, words):
    found, told = server.search(query, body)
    assert found == status
    assert words in told["error"]


@pytest.mark.parametrize("path", ["/api/thumb/60", "/api/image/60", "/api/thumb/0?split=x", "/api/figure/report",
                                  "/api/figure/..%2f..%2frun", "/static/..%2fsearch_page.py", "/static/%2e%2e/x",
                                  "/api/x", "/../../etc/passwd", "/api/image/etc", "/api/upload/..%2f.."])
def test_nothing_else_of_the_machine_is_reached(server, path):
    status, told = server.get(path)
    assert status in (404, 410)
    assert told["error"]


def raw(server, request, seconds=20.0):
    """What comes back for bytes written as they are, until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


@pytest.mark.parametrize("headers, status", [
    ({"Host": "evil.example:{port}"}, 421), ({"Host": "127.0.0.1:1"}, 421), ({"Host": "192.168.1.7:{port}"}, 421),
    ({"Host": "localhost:{port}"}, 200), ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
    ({"Origin": "http://127.0.0.1:{port}"}, 200), ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403), ({"Sec-Fetch-Site": "same-origin"}, 200),
    ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
    ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
])
def test_other_hosts_and_origins_are_refused(server, headers, status):
    filled = {name: value.format(port=server.port) for name, value in headers.items()}
    assert server.ask("/api/run", **filled)[0] == status


def test_every_answer_has_the_headers(server):
    for path in ("/", "/static/main.js", "/api/run", "/api/nothing", "/api/thumb/0"):
        _, headers, _ = server.ask(path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_two_host_headers_are_refused(server):
    request = b"GET /api/run HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nHost: x\r\nConnection: close\r\n\r\n" % server.port
    assert raw(server, request).split()[1] in (b"400", b"421")


def test_without_a_token_only_the_loopback_address_is_served():
    address = Address("0.0.0.0", 80, "secret")
    own = f"{socket.gethostname()}:80"
    assert all(map(address.knows, ("127.0.0.1:80", "localhost", "10.0.0.7:80", "[::1]:80", own)))
    assert not any(map(address.knows, ("evil.example:80", "10.0.0.7:81", "", "x:y")))


# ---------------------------------------------------------------- load
def test_a_hundred_clients_are_answered_or_told_to_wait(server):
    statuses, image = [], encoded(photo(3))

    def client(number):
        query, body = (f"of=train/{number % 60}", b"") if number % 2 else ("", image)
        for _ in range(3):
            status, told = server.search(query, body)
            statuses.append((status, "searches" in told or "wait" in told["error"]))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(statuses) == 300
    assert {status for status, _ in statuses} <= {200, 503}
    assert all(right for _, right in statuses)
    assert sum(status == 200 for status, _ in statuses) >= 100
    assert server.get("/api/health")[1]["waiting"] == 0


def test_slow_clients_are_cut_off(server):
    """One that says nothing and one that stops in the middle of a head; others are answered meanwhile."""
    begun = time.monotonic()
    silent = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    halting = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    halting.sendall(b"GET /api/run HTTP/1.1\r\nHost: x\r\nA: ")
    assert server.search("of=train/1")[0] == 200
    for connection in (silent, halting):
        try:
            assert connection.recv(100) == b""
        except ConnectionResetError:
            pass
        connection.close()
    assert time.monotonic() - begun < 20


def test_a_connection_that_goes_on_asking_is_kept(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    begun = time.monotonic()
    while time.monotonic() - begun < 3:
        connection.request("GET", "/api/health")
        assert connection.getresponse().read()
        time.sleep(0.3)
    connection.close()


# ---------------------------------------------------------------- servers of their own
def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_a_killed_net_is_started_again_and_the_request_waits(served_run, start):
    server = start(served_run).wait()
    _, first = server.search("", encoded(photo()))
    for of_guard in (str, lambda guard: children(guard)[0]):  # the guard, then the process that holds Caffe
        guard, = children(server.process.pid)
        os.kill(int(of_guard(guard)), signal.SIGKILL)
        status, again = server.search("", encoded(photo()))
        assert (status, again["searches"]) == (200, first["searches"])
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(20) == 0


def test_with_host_a_token_is_needed(served_run, start):
    server = start(served_run, "--host", "127.0.0.1", net=False)
    for _ in range(200):
        said = (served_run / "serve.log").read_text()
        if f":{server.port}/?token=" in said:
            break
        time.sleep(0.1)
    token = said.split(f":{server.port}/?token=")[1].split()[0]
    server.wait(token, net=False)
    status, told = server.get("/api/run")
    assert status == 401
    assert "A token is needed" in told["error"]
    assert server.get("/api/run", token="wrong")[0] == 401
    assert server.get("/api/run", token=token)[0] == 200
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", f"/?of=train/1&token={token}")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["location"]) == (303, "/?of=train%2F1")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert server.ask("/", Cookie=cookie.split(";")[0])[0] == 200
    status, told = server.search("", encoded(photo()), token=token)
    assert (status, "has no net" in told["error"]) == (501, True)


def test_a_port_in_use_and_no_features_are_sentences(server, served_run, tmp_path):
    serve = [sys.executable, os.path.join(REPO, "eval/serve.py")]
    for words, said in ((["--features", "run/features", "--port", str(server.port)],
                         f"port {server.port} is in use: give another one"),
                        (["--features", str(tmp_path), "--port", "0"], "is not a directory"),
                        (["--features", "run/features", "--host", "no.such.host.invalid"], "no such address")):
        done = subprocess.run([*serve, *words], cwd=served_run, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_run_without_fc7_thumbs_and_tests_answers_by_codes(own_run, start):
    for name in ("fc7", "thumbs", "predictions"):
        (own_run / f"run/features/train/{name}.npy").unlink()
    (own_run / "run/features/test").rename(own_run / "elsewhere")
    (own_run / "run/eval/results.json").unlink()
    server = start(own_run).wait()
    status, told = server.get("/api/run")
    assert (told["fc7"], told["thumbs"], told["images"]) == (None, {"train": False}, {"train": 60})
    assert told["default_T"] is None
    status, found = server.search("of=3&k=60")
    assert (status, list(found["searches"])) == (200, ["bcs"])
    assert server.search("of=3&search=hdl")[0] == 400
    assert server.get("/api/thumb/3")[0] == 404
    assert server.ask("/api/image/3")[0] == 200
    assert server.search("", encoded(photo()))[0] == 200


def test_a_run_replaced_while_it_is_served(own_run, start):
    server = start(own_run, net=False).wait(net=False)
    _, before = server.search("of=train/7")
    features = own_run / "run/features/train"
    os.rename(features, own_run / "old")
    time.sleep(1.2)
    status, told = server.search("of=train/7")
    assert status == 503
    assert "was replaced while it was served" in told["error"]
    os.rename(own_run / "old", features)
    latent = np.load(features / "latent.npy")
    np.save(features / "latent.npy", 1 - latent)
    for _ in range(100):
        status, after = server.search("of=train/7")
        if status == 200:
            break
        assert status == 503
        time.sleep(0.1)
    assert (bits_of(after) == 1 - bits_of(before)).all()


def test_a_net_of_another_run_is_refused(own_run, start):
    for split in ("train", "test"):
        meta = own_run / f"run/features/{split}/meta.json"
        meta.write_text(json.dumps(json.loads(meta.read_text()) | {"protocol": "caffe"}))
    server = start(own_run).wait()
    status, told = server.search("", encoded(photo()))
    assert status == 503
    assert "'protocol' is authors, in the database's meta.json caffe" in told["error"]
    assert server.search("of=train/0")[0] == 200
