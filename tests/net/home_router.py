"""A home in network namespaces: a host, its router with nftables NAT and a real miniupnpd, and somebody outside."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

WAN = "44.0.0.30"
OUTSIDE = "44.0.0.1"
LAN = "192.168.77.1"
HOST = "192.168.77.2"
OTHER = "192.168.77.3"
PROGRAMS = ("ip", "nft", "miniupnpd")

_TABLE = """
table inet miniupnpd {
 chain forward { type filter hook forward priority 0; policy accept; jump mfwd; }
 chain prerouting { type nat hook prerouting priority -100; policy accept; jump mpre; }
 chain postrouting { type nat hook postrouting priority 100; policy accept; jump mpost; oifname "wan" masquerade; }
 chain mfwd { }
 chain mpre { }
 chain mpost { }
}
"""
_SETTINGS = f"""
ext_ifname=wan
ext_ip={WAN}
listening_ip=lan
http_port=5000
uuid=5f1d9f2a-0000-4000-8000-000000000001
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
upnp_forward_chain=mfwd
upnp_nat_chain=mpre
upnp_nat_postrouting_chain=mpost
allow 1024-65535 192.168.77.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


def need_namespaces(*programs: str) -> None:
    """Skip the test, saying why, where namespaces or a program are not to be had."""
    if os.geteuid():
        pytest.skip("network namespaces need root")
    if missing := [name for name in programs if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody make network namespaces")


def run(*command: str, text: str | None = None) -> str:
    """Run a program to its end; what it printed."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


class Home:
    """The namespaces, made by `open` and removed by `close`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.router, self.host, self.outside = (f"{name}-{part}" for part in ("r", "h", "o"))
        self._folder = folder
        self._daemon: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        for namespace in (self.router, self.host, self.outside):
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        self._cable(self.host, "eth0", (f"{HOST}/24", f"{OTHER}/24"), "lan", f"{LAN}/24")
        self._cable(self.outside, "eth0", (f"{OUTSIDE}/24",), "wan", f"{WAN}/24")
        run("ip", "-n", self.host, "route", "add", "default", "via", LAN)
        run("ip", "netns", "exec", self.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        run("ip", "netns", "exec", self.router, "nft", "-f", "-", text=_TABLE)

    def _cable(self, namespace: str, name: str, addresses: tuple[str, ...], end: str, router: str) -> None:
        run("ip", "-n", namespace, "link", "add", name, "type", "veth", "peer", "name", end, "netns", self.router)
        for address in addresses:
            run("ip", "-n", namespace, "addr", "add", address, "dev", name)
        run("ip", "-n", self.router, "addr", "add", router, "dev", end)
        run("ip", "-n", namespace, "link", "set", name, "up")
        run("ip", "-n", self.router, "link", "set", end, "up")

    def start(self, *, upnp: bool = True, natpmp: bool = True, more: str = "") -> None:
        """Switch the router's miniupnpd on."""
        switches = f"enable_upnp={_yes(upnp)}\nenable_natpmp={_yes(natpmp)}\n{more}\n"
        settings = self._folder / "miniupnpd.conf"
        settings.write_text(switches + _SETTINGS)
        command = ["miniupnpd", "-d", "-f", str(settings), "-P", str(self._folder / "pid")]
        self._daemon = subprocess.Popen(
            ["ip", "netns", "exec", self.router, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        """Switch it off, and let it forget everything."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = None
        for chain in ("mfwd", "mpre", "mpost"):
            run("ip", "netns", "exec", self.router, "nft", "flush", "chain", "inet", "miniupnpd", chain)

    def redirects(self) -> str:
        """The router's own list of what leads inside."""
        return run("ip", "netns", "exec", self.router, "nft", "-n", "list", "chain", "inet", "miniupnpd", "mpre")

    def close(self) -> None:
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
        for namespace in (self.router, self.host, self.outside):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
