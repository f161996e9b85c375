"""The encrypted store of one node: memory.db is the truth, index.db can be rebuilt from it.

`store.Store` opens both; one thread writes (`writer`), local writes become signed changesets (`author`),
foreign ones are merged in bulk (`merge`), readers see snapshots (`read`, `log`), the index follows (`index`).
"""
