"""Which GPUs get a renderer, and what an end of one means."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections import Counter

from reeldrop.base.job import Cause
from reeldrop.cluster import places
from reeldrop.cluster.errors import cause_of, reason_of
from reeldrop.cluster.places import Node, Pauses, Place
from reeldrop.cluster.wire import Facts

HEAD = Node("h", "head", "10.0.0.1", {"CPU": 8.0})
TWO = Node("a", "two", "10.0.0.2", {"GPU": 2.0})
ONE = Node("b", "one", "10.0.0.3", {"GPU": 1.0})
SAID = Node("c", "said", "10.0.0.4", {"GPU": 4.0, "reeldrop": 1.0})
CPUS = Node("d", "cpus", "10.0.0.5", {"CPU": 8.0, "reeldrop": 2.0})
FACTS = Facts("two", "H100", "two/1", 80 * 10**9, 79 * 10**9, True, "", 1)

KILLED = """The actor died unexpectedly before finishing this task.
\tclass_name: RendererActor
\tactor_id: 651795af905296b6a4afef1001000000
\tpid: 16638
\tnamespace: d1b2ed6f-5b20-41d0-9370-63937d95da60
\tip: 10.0.0.3
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit \
detail: Worker unexpectedly exits with a connection error code 2. End of file. Some common causes \
include: (1) the process was killed by the OOM killer due to high memory usage, (2) ray stop"""

NODE_LOST = """The actor died unexpectedly before finishing this task.
The actor died because its node has died. Node Id: 57f8 the actor's node was terminated \
unexpectedly: health check failed due to missing too many heartbeats"""

NO_MEMORY = """1 worker(s) were killed due to the node running low on memory. \
Memory on the node (IP: 10.0.0.3, ID: 57f8) was 30.4GB used / 32.0GB limit (0.95)
Ray killed 1 worker(s) based on the killing policy
To see more information about memory usage on this node, use `ray logs raylet.out -ip 10.0.0.3`"""


def test_renderers_are_spread_over_the_nodes() -> None:
    """Each GPU gets one, unless a node says how many it wants; with too few, each node gets one."""
    everywhere = places.wanted([HEAD, TWO, ONE, SAID, CPUS], None, [1])
    assert [("a", 0), ("b", 0), ("c", 0), ("d", 0), ("a", 1), ("d", 1)] == everywhere
    assert everywhere[:3] == places.wanted([HEAD, TWO, ONE, SAID, CPUS], 3, [1])
    having = everywhere[:3]  # when a machine joins, Ray may tell all in another order
    assert having == places.wanted([CPUS, TWO, ONE, SAID, HEAD], 3, [1], having)
    assert [{"GPU": 1.0}, {"reeldrop": 1.0, "GPU": 1.0}, {"reeldrop": 1.0}] == [
        dict(node.needs([1])) for node in (TWO, SAID, CPUS)
    ]


def test_a_renderer_gets_as_many_gpus_as_a_profile_wants() -> None:
    """All of one node. One that has fewer renders other profiles, each GPU for itself."""
    five = Node("e", "five", "10.0.0.6", {"GPU": 5.0})
    greedy = Node("f", "greedy", "10.0.0.7", {"GPU": 4.0, "reeldrop": 4.0})
    found = places.wanted([TWO, ONE, SAID, CPUS, five, greedy], None, [1, 2])
    assert {"a": 1, "b": 1, "c": 1, "d": 2, "e": 2, "f": 2} == Counter(p.node for p in found)
    assert [{"GPU": 2.0}, {"GPU": 1.0}, {"reeldrop": 1.0, "GPU": 2.0}, {"reeldrop": 1.0}] == [
        dict(node.needs([1, 2])) for node in (five, ONE, greedy, CPUS)
    ]
    assert 4 == five.share([1, 2, 4, 8])
    assert "" == places.too_small([CPUS], [8]) == places.too_small([TWO, five], [1, 4])
    assert "" == places.too_small([TWO], [])
    assert "the 8 GPUs that a profile wants (gpus), but 5" in places.too_small([TWO, five], [8])


def test_a_node_outside_of_the_network_gets_no_renderer() -> None:
    """Its prompts and videos would go where config.yaml does not allow them."""
    assert "" == places.outside(ONE, "10.0.0.0/24") == places.outside(ONE, "")
    told = places.outside(dataclasses.replace(ONE, address="192.0.2.3"), "10.0.0.0/24")
    assert "the node one has the address 192.0.2.3, outside of 10.0.0.0/24" in told


def test_a_place_whose_renderers_end_is_left_alone_for_longer_each_time() -> None:
    """Not after an end that follows a long life, nor once its node has been away."""
    place, pauses, now, waits = Place("a", 0), Pauses(), 1000.0, []
    for _ in range(9):
        pauses.note_end(place, now, now)
        waits.append(next(s for s in range(100) if pauses.are_over(place, now + s)))
    assert [1, 2, 4, 8, 16, 32, 60, 60, 60] == waits
    pauses.note_end(place, now - 500, now)
    assert pauses.are_over(place, now + 1)
    pauses.note_end(place, now, now)
    pauses.forget([])
    assert pauses.are_over(place, now)


def test_a_gpu_whose_memory_is_still_taken_is_left_out_with_a_reason() -> None:
    """What was free once has to be free again; the first renderer takes it as it is."""
    assert "" == places.taken(FACTS, 0) == places.taken(FACTS, 80 * 10**9)
    orphan = dataclasses.replace(FACTS, free=39 * 10**9)
    assert "two/1 (H100): 40.0 of 80.0 GB are still taken" in places.taken(orphan, FACTS.free)


def test_a_node_with_another_version_is_left_out() -> None:
    """Its renderer might not understand the orders."""
    own = dataclasses.replace(FACTS, version=importlib.metadata.version("reeldrop"))
    assert "" == places.other_version(own)
    assert "two has reeldrop 99.0" in places.other_version(dataclasses.replace(own, version="99.0"))


def test_the_words_of_ray_tell_what_may_have_ended_a_renderer() -> None:
    """The advice that Ray adds to each end says nothing about this one."""
    assert Cause.UNKNOWN == cause_of(KILLED)
    assert Cause.MACHINE == cause_of(NODE_LOST)
    assert Cause.WORK == cause_of(NO_MEMORY)
    told = reason_of(KILLED)
    assert told.startswith("The actor died unexpectedly before finishing this task. ip: 10.0.0.3")
    assert told.endswith("connection error code 2. End of file.")
