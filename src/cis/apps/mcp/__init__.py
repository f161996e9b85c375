"""The MCP server: a node's memory as tools and resources for agents, and what registers it with their programs."""
