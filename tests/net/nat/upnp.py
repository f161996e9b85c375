"""miniupnpd on a router: UPnP-IGD, NAT-PMP and PCP, with the chains it writes its rules into."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

from tests.net.nat.namespaces import Namespace
from tests.net.nat.programs import Program

_CHAINS = """
table inet miniupnpd {
 chain forward { type filter hook forward priority 0; policy accept; jump opened; }
 chain prerouting { type nat hook prerouting priority -99; policy accept; jump mapped; }
 chain postrouting { type nat hook postrouting priority 99; policy accept; jump returned; }
 chain opened { }
 chain mapped { }
 chain returned { }
}
"""
_SETTINGS = """\
ext_ifname=wan
ext_ip={address}
listening_ip=lan
http_port=5000
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
uuid=5f1d9f2a-0000-4000-8000-000000000001
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
upnp_forward_chain=opened
upnp_nat_chain=mapped
upnp_nat_postrouting_chain=returned
lease_file={folder}/leases
allow 1024-65535 192.168.1.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""
_NATPMP_PORT = 5351
_ADDRESS_REQUEST = b"\x00\x00"
_ANSWER_S = 0.1


class PortMapper(Program):
    """The daemon, on a router whose outer address is ``address``."""

    def __init__(self, router: Namespace, address: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="cis-upnp-"))
        settings = self._folder / "settings"
        settings.write_text(_SETTINGS.format(address=address, folder=self._folder))
        words = ["miniupnpd", "-d", "-f", str(settings), "-P", str(self._folder / "pid")]
        super().__init__(router, words, self._folder / "log")
        router.nft(_CHAINS)

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def ready(self) -> bool:
        """Whether NAT-PMP answers on the router's own inner address."""
        with self._namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(_ANSWER_S)
            try:
                asking.sendto(_ADDRESS_REQUEST, ("192.168.1.1", _NATPMP_PORT))
                return bool(asking.recv(64))
            except OSError:
                return False
