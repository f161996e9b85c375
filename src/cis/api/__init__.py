"""api decides what can be asked of a node: operations, settings, import and export, the control socket."""
