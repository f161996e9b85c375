"""What of a node's options may change while it runs: what bounds it, and how often it compares."""

from __future__ import annotations

from dataclasses import replace

from cis.node.core import events
from cis.node.driver import Driver, NodeOptions

TUNABLE = ("sync_interval_s", "collects", "limits", "bandwidth", "pool", "links_per_node", "ban_s")
"""The options that a running node can take up."""


def retune(driver: Driver, options: NodeOptions) -> None:
    """Let other options hold in a running node, as far as it can take them up; the rest stays as it was."""
    before = driver.options
    driver.core.table.per_node_max, driver.core.dialling.ban_s = options.links_per_node, options.ban_s
    driver.core.pool.limits = options.pool
    driver.stability.collects = options.collects
    if options.sync_interval_s != before.sync_interval_s:
        driver.report(events.IntervalChanged(options.sync_interval_s))
    if (options.limits, options.bandwidth) != (before.limits, before.bandwidth):
        driver.endpoint.apply(options.limits, options.bandwidth)
    driver.options = replace(before, **{name: getattr(options, name) for name in TUNABLE})
