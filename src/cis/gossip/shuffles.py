"""Keeping the passive view fresh: samples of views walk through the overlay and are answered in kind."""

from __future__ import annotations

from cis.gossip.language import Dial, SetTimer
from cis.gossip.neighbourhood import Neighbourhood, ViewTimer
from cis.model import NodeId
from cis.wire.gossip import CONTACTS_MAX, Contact, Shuffle, ShuffleAnswer


class Shuffles:
    """The exchanging half of HyParView."""

    def __init__(self, around: Neighbourhood) -> None:
        self._around = around
        self._told: tuple[NodeId, ...] | None = None
        """whom the last shuffle named, until it is answered"""
        self._answered_near = 0

    def plan(self, period_s: float) -> None:
        """Plan the next shuffle about so long from now."""
        jitter = self._around.config.jitter
        delay_s = period_s * self._around.rng.uniform(1 - jitter, 1 + jitter)
        self._around.effects.append(SetTimer(delay_s, ViewTimer.SHUFFLE))

    def begin(self) -> None:
        """Send a sample of both views on a walk, and plan the next."""
        around, config = self._around, self._around.config
        self.plan(config.shuffle_s)
        if (target := around.neighbour_but()) is None:
            return
        others = [node for node in around.active if node != target]
        near = around.rng.sample(others, min(config.shuffle_active, len(others)))
        contacts = [(node, around.active[node]) for node in near] + around.known.sample(config.shuffle_passive)
        self._told = tuple(node for node, _ in contacts)
        around.send(target, Shuffle(around.own_contact(), contacts, config.join_walk))

    def on_shuffle(self, node: NodeId, message: Shuffle) -> None:
        """Pass a walking sample on, or take it in and answer whoever it came from."""
        around = self._around
        teller, record = message.origin
        ttl = min(message.ttl, around.config.join_walk) - 1
        if teller == around.own:
            return
        if ttl > 0 and (onward := around.neighbour_but(node, teller)) is not None:
            around.send(onward, Shuffle(message.origin, message.contacts[:CONTACTS_MAX], ttl))
            return
        answer = around.known.sample(min(len(message.contacts) + 1, CONTACTS_MAX), besides=(teller,))
        self._learn([*message.contacts[:CONTACTS_MAX], message.origin], tuple(other for other, _ in answer))
        if answer:
            self._answer(teller, record, answer)

    def on_answer(self, node: NodeId, message: ShuffleAnswer) -> None:
        """Take in the answer to the last shuffle; there is one to each."""
        if self._told is not None:
            self._learn(message.contacts[:CONTACTS_MAX], self._told)
            self._told = None
            self._answered_near = self._answered_near + 1 if node in self._around.active else 0
        if node not in self._around.active:
            self._around.linger(node)

    def seems_closed(self) -> bool:
        """Tell whether walks keep ending among the neighbours, as they would where these know only each other."""
        closed = self._answered_near >= self._around.config.circle_max
        if closed:
            self._answered_near = 0
        return closed

    def on_linked(self, node: NodeId) -> None:
        """Give the answer a link was made for, if it was."""
        if (answer := self._around.answers.pop(node, None)) is not None:
            self._around.send(node, ShuffleAnswer(answer))
            self._around.linger(node)

    def _answer(self, teller: NodeId, record: bytes, answer: list[Contact]) -> None:
        around = self._around
        if teller in around.links:
            around.send(teller, ShuffleAnswer(answer))
        elif len(around.answers) < around.config.answers_max and teller not in around.answers:
            around.answers[teller] = answer
            if teller not in around.asks:
                around.effects.append(Dial(teller, record))

    def _learn(self, contacts: list[Contact], instead: tuple[NodeId, ...]) -> None:
        for node, record in contacts:
            if node not in self._around.active:
                self._around.known.learn(node, record, instead)
