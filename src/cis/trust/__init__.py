"""Who is who and who may do what: keys, handshake, membership log, invitations, sealing and signing."""

from __future__ import annotations

from cis.trust.entries import SignedEntry, read_entry, verify_chain
from cis.trust.handshake import Authenticated, Dialler, HandshakeKey, KeyUsed, Listener, Local, Refused, Step
from cis.trust.identity import Entropy, Identity, Label, verify
from cis.trust.invites import Invitation, Ticket, parse_ticket, redeem, ticket_id
from cis.trust.keyfile import create_identity, create_store_key, load_identity, load_store_key
from cis.trust.keys import PRIVATE, PUBLIC, ClusterKeys, private_keys, space_id
from cis.trust.membership import Founded, Membership, found
from cis.trust.names import Member, check_name

__all__ = [
    "PRIVATE",
    "PUBLIC",
    "Authenticated",
    "ClusterKeys",
    "Dialler",
    "Entropy",
    "Founded",
    "HandshakeKey",
    "Identity",
    "Invitation",
    "KeyUsed",
    "Label",
    "Listener",
    "Local",
    "Member",
    "Membership",
    "Refused",
    "SignedEntry",
    "Step",
    "Ticket",
    "check_name",
    "create_identity",
    "create_store_key",
    "found",
    "load_identity",
    "load_store_key",
    "parse_ticket",
    "private_keys",
    "read_entry",
    "redeem",
    "space_id",
    "ticket_id",
    "verify",
    "verify_chain",
]
