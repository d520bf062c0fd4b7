"""No two threads make a class known to msgspec at the same moment: it is known since its module was imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.documents import ROOT

# Prints the classes that msgspec has looked at, in a process that has only imported them.
KNOWN = """\
import gc, sys, msgspec
from rsm.node.network import protocol
from rsm.node.network import handshake
from rsm.node import status
from rsm.node.storage import directory
from rsm.node.storage import segment
from rsm.raft import messages, configuration
from rsm.replica.answer import Answer
from rsm.replica.snapshot import Manifest

kinds = [Answer, Manifest, status.NodeStatus, status.MemberStatus, status.PeerStatus, directory.Identity]
kinds += [segment.SegmentHead, handshake.PeerHello, handshake.ClientHello, handshake.ServerHello, configuration.Member]
kinds += [*protocol._KINDS.values(), *messages._KINDS]
for kind in kinds:
    infos = [one for one in gc.get_referents(kind) if type(one).__name__ == "StructInfo"]
    if not infos and not hasattr(kind, "__msgspec_cache__"):
        print(kind.__name__)
"""
# Every thread converts to one class for the first time; without what is tested here it dies in two runs of five.
RACE = """\
import sys, threading, msgspec
from rsm.node.status import NodeStatus, status_from

sys.setswitchinterval(1e-6)
names = "node_id term commit_index applied_index last_index durable_index version"
numbers = dict.fromkeys(names.split(), 1)
fields = {"cluster_id": "", "role": "leader", "machine": "m", **numbers}
barrier = threading.Barrier(16)
read = []

def run():
    barrier.wait()
    read.append(status_from(fields))

threads = [threading.Thread(target=run) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(read))
"""


@pytest.mark.parametrize(("program", "printed"), [(KNOWN, ""), (RACE, "16\n")], ids=["known", "race"])
def test_what_is_converted_to_in_threads_is_known(program: str, printed: str) -> None:
    """The structs of the network and of the files are known after import; converting in many threads at once works."""
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, printed, "")
