"""A cluster on the loopback address: what listens where, who may connect, what is refused, what ends."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster_cases import REPO, family, free_port, program

import cluster as cluster_program
from basics.program import EvalError
from nodes.address import Address, new_token, parse_address, token_of
from nodes.processes import MARK, end, marked
from nodes.starting import told


def test_status_lists_head_and_nodes(cluster):
    status, said = program("status", "--cluster", cluster.address)
    assert status == 0, said
    assert "3 living nodes" in said
    assert len(re.findall(r"^  node ", said, re.M)) == 2
    assert len(re.findall(r"^  head ", said, re.M)) == 1


def test_nothing_listens_beyond_the_loopback_address(cluster):
    """All sockets in the state LISTEN of all processes of the cluster."""
    processes = [process for path in cluster.folder.glob("node-*.json")
                 for process in family(int(re.search(r'"pid": (\d+)', path.read_text())[1]))]
    inodes = {match[1] for process in processes for link in Path(f"/proc/{process}/fd").iterdir()
              if (match := re.match(r"socket:\[(\d+)\]", os.readlink(link)))}
    listening = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()
                 if line.split()[3] == "0A"]
    addresses = {words[1].partition(":")[0] for words in listening if words[9] in inodes}
    assert len([words for words in listening if words[9] in inodes]) >= 5
    assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def test_the_token_is_secret(cluster):
    assert (cluster.folder / "token").stat().st_mode & 0o777 == 0o600
    assert cluster.folder.stat().st_mode & 0o777 == 0o700


def test_another_token_is_refused_by_name(cluster, tmp_path):
    (tmp_path / "other").write_text("0" * 64)
    (tmp_path / "other").chmod(0o600)
    started = time.monotonic()
    status, said = program("status", "--cluster", cluster.address, "--token", tmp_path / "other")
    assert status == 1
    assert said == f"error: {tmp_path / 'other'} is not the token of the cluster at {cluster.address}: copy the one " \
        "that its head keeps (TOKEN=)\n"
    assert time.monotonic() - started < 30


def test_another_version_is_refused_by_name(cluster):
    """The client says that it has another Ray, as one of another installation would."""
    code = ("import os, sys; from nodes.connect import connect, environment\n"
            "from nodes.address import parse_address, token_of; from basics.program import EvalError\n"
            "address = parse_address(sys.argv[1]); os.environ.update(environment(address, token_of(address)))\n"
            "import ray; ray.__version__ = '2.59.0'\n"
            "try: connect(address)\nexcept EvalError as error: print(error)")
    done = subprocess.run([sys.executable, "-c", code, cluster.address], cwd=REPO / "eval", capture_output=True,
                          text=True, timeout=60)
    assert "has other versions" in done.stdout
    assert "2.59.0" in done.stdout and "2.60.0" in done.stdout


def test_a_head_on_a_taken_port_is_refused(cluster):
    status, said = program("head", "--port", cluster.port)
    assert status == 1
    assert f"port {cluster.port} of 127.0.0.1 is in use" in said


@pytest.mark.parametrize("command", ["status", "node"])
def test_no_cluster_is_told_at_once(command):
    started = time.monotonic()
    status, said = program(command, "--cluster", f"127.0.0.1:{free_port()}")
    assert status == 1
    assert "there is no cluster at 127.0.0.1:" in said
    assert time.monotonic() - started < 20


def test_stop_without_a_cluster_says_so():
    status, said = program("stop", "--cluster", f"127.0.0.1:{free_port()}")
    assert status == 1
    assert "nothing of a cluster" in said


@pytest.mark.parametrize("text", ["", "nowhere", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "127.0.0.1:x", ":6379"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(EvalError, match="CLUSTER="):
        parse_address(text)


def test_a_host_without_an_address_is_named():
    with pytest.raises(EvalError, match="no-such-host.invalid has no IPv4 address"):
        parse_address("no-such-host.invalid:6379")


def test_a_name_becomes_numbers():
    assert parse_address("localhost:6379") == Address("127.0.0.1", 6379)


def test_a_token_that_others_read_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("nodes.address.CLUSTERS", tmp_path)
    path = new_token(Address("127.0.0.1", 1))
    assert token_of(Address("127.0.0.1", 1)) == path
    path.chmod(0o644)
    with pytest.raises(EvalError, match="mode 0644"):
        token_of(Address("127.0.0.1", 1))


def test_a_missing_token_is_named():
    with pytest.raises(EvalError, match="copy the token that the head of 127.0.0.1:1 keeps"):
        token_of(Address("127.0.0.1", 1))


@pytest.mark.parametrize("said, words", [
    (["Unauthenticated: RPC error: InvalidAuthToken"], "token is not that"),
    (["RuntimeError: Version mismatch: The cluster was started with:", "Ray: 2.60.0"], "Install the same versions")])
def test_why_a_node_did_not_start(said, words):
    assert words in told(said)


def test_a_wrong_port_is_refused():
    with pytest.raises(EvalError, match="PORT="):
        cluster_program.parse_arguments(["head", "--port", "70000"])


def test_only_processes_with_the_mark_are_ended(tmp_path):
    """A child that outlived its killed parent is ended too; a process of another mark lives on."""
    def sleeper(mark):
        code = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
        return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, MARK: mark})

    ours, other = sleeper(str(tmp_path)), sleeper(f"{tmp_path}2")
    try:
        while len(marked(str(tmp_path))) < 2 or len(marked(f"{tmp_path}2")) < 2:
            time.sleep(0.05)
        ours.kill()
        ours.wait()
        assert end(str(tmp_path), ours.pid) == 1
        assert marked(str(tmp_path)) == []
        assert len(marked(f"{tmp_path}2")) == 2
    finally:
        end(f"{tmp_path}2")
        other.wait()
