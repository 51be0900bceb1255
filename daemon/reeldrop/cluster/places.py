"""Which GPUs get a renderer, when a failed one is replaced, and whether a GPU's memory is free.

Plain values only; knows nothing of Ray.
"""

from __future__ import annotations

import importlib.metadata
import ipaddress
import math
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from reeldrop.cluster.wire import Facts

SLOTS = "reeldrop"
"""The Ray resource with which a node sets its number of renderers: `--resources={"reeldrop":2}`."""

_FREE_SHARE = 0.9
"""This share of the most memory that was ever free must be free again."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_GOOD_SECONDS = 120.0
"""If a renderer has run for this long, its end counts as the first one."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster: its name and address, and what it offers."""

    id: str
    name: str
    address: str
    resources: Mapping[str, float]

    @property
    def gpus(self) -> int:
        return int(self.resources.get("GPU", 0))

    def share(self, groups: Iterable[int]) -> int:
        """How many GPUs each of its renderers gets: the largest group that it has room for.

        groups: the numbers of GPUs that profiles ask for
        """
        return max((group for group in groups if group <= self.gpus), default=1)

    def slots(self, groups: Iterable[int]) -> int:
        """How many renderers it gets: the number of `SLOTS`, or else as many as it has GPUs for."""
        said, room = int(self.resources.get(SLOTS, self.gpus)), self.gpus // self.share(groups)
        return said if said > self.gpus else min(said, room)

    def needs(self, groups: Iterable[int]) -> Mapping[str, float]:
        """The Ray resources that a renderer takes."""
        share, slots = self.share(groups), self.slots(groups)
        slot = {SLOTS: 1.0} if SLOTS in self.resources else {}
        has_gpus = self.gpus >= slots * share > 0
        return {**slot, **({"GPU": float(share)} if has_gpus else {})}


def nodes(told: Iterable[Mapping[str, Any]]) -> list[Node]:
    """Return the nodes that are alive, by what Ray tells.

    Each has a name of its own: that of its host, with its address where others have the same one.
    """
    alive = [node for node in told if node["Alive"]]
    hosts = Counter(node["NodeManagerHostname"] for node in alive)
    found = []
    for node in alive:
        name, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
        name = name if hosts[name] == 1 else f"{name} ({address})"
        found.append(Node(node["NodeID"], name, address, node["Resources"]))
    return found


class Place(NamedTuple):
    """Where one renderer is: a node, and the number of its GPUs or slot there."""

    node: str
    slot: int


def wanted(
    nodes: Iterable[Node], most: int | None, groups: Sequence[int], having: Container[Place] = ()
) -> list[Place]:
    """Return the places that get a renderer, spread over the nodes; at most `most`.

    having: those that have one keep it; Ray tells nodes in another order when one joins
    """
    places = [Place(node.id, slot) for node in nodes for slot in range(node.slots(groups))]
    return sorted(places, key=lambda place: (place not in having, place.slot))[:most]


def too_small(nodes: Iterable[Node], groups: Sequence[int]) -> str:
    """Return that no node has the GPUs of the largest group; empty if one has.

    Where no node has any GPU, the processes of a group share the CPU.
    """
    most = max((node.gpus for node in nodes), default=0)
    largest = max(groups, default=1)
    if not 0 < most < largest:
        return ""
    return f"no node has the {largest} GPUs that a profile wants (gpus), but {most} at most"


def outside(node: Node, network: str) -> str:
    """Return why a node can't be used; empty if its address is in the network.

    network: such as 10.0.0.0/24; empty for any
    """
    if not network or ipaddress.ip_address(node.address) in ipaddress.ip_network(network):
        return ""
    problem = f"the node {node.name} has the address {node.address}, outside of {network}"
    return (
        f"{problem}: start it with --node-ip-address, or name the network of all machines in "
        "ray.interface, such as 10.0.0.0/24"
    )


class Pauses:
    """How long each place waits for a new renderer after the last one ended: longer each time."""

    def __init__(self) -> None:
        self._ends: dict[Place, int] = {}
        self._until: dict[Place, float] = {}

    def note_end(self, place: Place, began: float, now: float) -> None:
        """Note that a renderer, started at `began`, has ended."""
        before = self._ends.get(place, 0) if now < began + _GOOD_SECONDS else 0
        self._ends[place] = before + 1
        self._until[place] = now + min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**before)

    def are_over(self, place: Place, now: float) -> bool:
        """Return whether a place may get a renderer."""
        return now >= self._until.get(place, -math.inf)

    def forget(self, places: Iterable[Place]) -> None:
        """Forget all places but these, because their nodes have left."""
        known = set(places)
        for place in self._until.keys() - known:
            del self._until[place], self._ends[place]


def taken(facts: Facts, free_before: int) -> str:
    """Return why a GPU can't be used yet; empty if it can.

    A renderer that was killed can leave a process that keeps the GPU's memory.

    free_before: the most bytes that were ever free on it
    """
    if facts.free >= _FREE_SHARE * free_before:
        return ""
    missing, total = (free_before - facts.free) / 1e9, facts.total / 1e9
    return (
        f"{facts.gpu} ({facts.device}): {missing:.1f} of {total:.1f} GB are still taken since its "
        "renderer ended; see `nvidia-smi` there"
    )


def other_version(facts: Facts) -> str:
    """Return why a node can't be used if it has another version of reeldrop; empty if it can."""
    own = importlib.metadata.version("reeldrop")
    if facts.version == own:
        return ""
    return f"the node {facts.node} has reeldrop {facts.version}, not {own}: upgrade it, or this one"
